// A scalar reward model as a reward. The model itself is handed in as a function: rewards/ knows no
// policy; recipes/reward_model.h makes such a function of a Hugging Face folder.
#pragma once

#include <string>
#include <vector>

#include "core/recipe.h"
#include "rewards/reward.h"

namespace ponder::rewards {

struct RewardModelOptions {
  std::string model;    // a Hugging Face folder with a *ForSequenceClassification of one label
  std::string suffix;   // text behind the completion: the end-of-turn token that was trained with
  double ok_above = 0;  // the status is ok where the model's score is above it
  double scale = 1;     // the reward is scale * score, then cut to the range
  double low = -1e6, high = 1e6;
};
void bind(core::Binder& b, RewardModelOptions& o);

// Judges prompt, completion and suffix, one behind the other, as the policy sees them. A score that
// is not finite is no value (crashed).
class ModelReward : public Reward {
 public:
  // Throws UserError: no model named, nothing that could load it here, low above high.
  ModelReward(const RewardModelOptions& options, const LoadRewardModel& load);
  Judgement judge(const data::Prompt& prompt, const data::Completion& completion) const override;
  std::vector<Judgement> judge_all(std::span<const Sample> samples) const override;

 private:
  Judgement verdict(double score) const;

  RewardModelOptions options_;
  ScoreTexts score_;
};

}  // namespace ponder::rewards
