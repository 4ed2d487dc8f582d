// Rewards of length and repetition. Length is in tokens: the completion's token ids where there are
// some, else the column "completion_tokens"; without either there is no value.
#pragma once

#include "core/recipe.h"
#include "rewards/reward.h"

namespace ponder::rewards {

struct OverlongOptions {
  int64_t max_length =
      20480;  // DAPO's own: 16,384 expected, a soft range of 4,096 before the limit
  int64_t cache = 4096;
};
void bind(core::Binder& b, OverlongOptions& o);

// DAPO's soft overlong punishment (arXiv:2503.14476, equation 13): 0 up to max_length - cache, then
// falling linearly to -1 at max_length, -1 beyond.
class SoftOverlong : public Reward {
 public:
  // Throws UserError: cache > max_length.
  explicit SoftOverlong(const OverlongOptions& options);
  Judgement judge(const data::Prompt& prompt, const data::Completion& completion) const override;

 private:
  OverlongOptions options_;
};

struct CosineOptions {
  std::string accuracy = "accuracy";  // the reward that says whether the completion is right
  int64_t max_length = 1000;
  double min_value_wrong = -1.0, max_value_wrong = -0.5, min_value_correct = 0.5,
         max_value_correct = 1.0;
};
void bind(core::Binder& b, CosineOptions& o);

// Right answers earn less the longer they are, wrong ones lose less (arXiv:2502.03373; open-r1's
// get_cosine_scaled_reward): low + (high - low) (1 + cos(pi length / max_length)) / 2, with (low,
// high) = (min_value_correct, max_value_correct) where right and (max_value_wrong, min_value_wrong)
// where wrong. Departures from open-r1: tokens and no characters, as in the paper; lengths beyond
// max_length count as max_length, where open-r1's cosine would rise again.
class CosineLength : public Reward {
 public:
  explicit CosineLength(const CosineOptions& options);
  Judgement judge(const data::Prompt& prompt, const data::Completion& completion) const override;
  std::string problem_with(const data::Prompt& prompt) const override {
    return accuracy_->problem_with(prompt);
  }

 private:
  CosineOptions options_;
  std::unique_ptr<Reward> accuracy_;
};

struct RepetitionOptions {
  int64_t ngram = 3;
  double max_penalty = -1.0;
};
void bind(core::Binder& b, RepetitionOptions& o);

// max_penalty times the share of n-grams of words that occurred before (open-r1's
// get_repetition_penalty_reward, after arXiv:2502.03373, appendix C); 0 for fewer than n words.
// Words are parts between white space, in lower case.
class RepetitionPenalty : public Reward {
 public:
  explicit RepetitionPenalty(const RepetitionOptions& options) : options_(options) {}
  Judgement judge(const data::Prompt& prompt, const data::Completion& completion) const override;

 private:
  RepetitionOptions options_;
};

}  // namespace ponder::rewards
