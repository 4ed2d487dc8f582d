#include "rewards/model_reward.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace ponder::rewards {

void bind(core::Binder& b, RewardModelOptions& o) {
  b.field("model", o.model, "Hugging Face folder of a sequence classifier with one label");
  b.field("suffix", o.suffix, "text behind the completion, such as an end-of-turn token");
  b.field("ok_above", o.ok_above, "scores above it have the status ok");
  b.field("scale", o.scale, "factor on the model's score");
  b.field("low", o.low, "least reward");
  b.field("high", o.high, "greatest reward");
}

ModelReward::ModelReward(const RewardModelOptions& options, const LoadRewardModel& load)
    : options_(options) {
  if (options.model.empty())
    core::throw_user("reward_model names no model: reward_model{{model = \"FOLDER\"}}");
  if (options.low > options.high)
    core::throw_user("reward_model: low {} is above high {}", options.low, options.high);
  if (!load) core::throw_user("reward_model: this program loads no models; use `ponder`");
  score_ = load(options.model);
}

Judgement ModelReward::judge(const data::Prompt& prompt, const data::Completion& completion) const {
  const Sample sample{&prompt, &completion};
  return judge_all({&sample, 1})[0];
}

Judgement ModelReward::verdict(double score) const {
  if (!std::isfinite(score))
    return {std::nullopt, data::ScoreStatus::kCrashed, "a score that is not finite"};
  return {std::clamp(options_.scale * score, options_.low, options_.high),
          score > options_.ok_above ? data::ScoreStatus::kOk : data::ScoreStatus::kWrong,
          fmt::format("score {:.4g}", score)};
}

// A batch with a text that the model refuses (too long, say) is done one by one.
std::vector<Judgement> ModelReward::judge_all(std::span<const Sample> samples) const {
  std::vector<std::string> texts;
  for (const Sample& sample : samples)
    texts.push_back(sample.prompt->text + sample.completion->text + options_.suffix);
  std::vector<Judgement> out;
  try {
    const std::vector<double> scores = score_(texts);
    PONDER_CHECK(scores.size() == samples.size(), "[reward_model] {} scores for {} texts",
                 scores.size(), samples.size());
    for (const double score : scores) out.push_back(verdict(score));
  } catch (const std::exception& error) {
    if (samples.size() == 1) return {{std::nullopt, data::ScoreStatus::kCrashed, error.what()}};
    for (size_t i = 0; i < samples.size(); ++i) out.push_back(judge_all(samples.subspan(i, 1))[0]);
  }
  return out;
}

}  // namespace ponder::rewards
