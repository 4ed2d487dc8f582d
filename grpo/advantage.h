// Advantages: what each completion's reward is worth against its group or its batch. Plain numbers:
// knows no tensor, no token and no policy. Computed in double, handed on as float.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "data/types.h"

namespace ponder::grpo {

// What the rewards less their baseline are divided by (TRL: scale_rewards).
enum class ScaleRewards {
  kGroup,  // the group's standard deviation: GRPO, DeepSeekMath §4.1.2 (arXiv:2402.03300)
  kBatch,  // the standard deviation over all groups of the rollout
  kNone,   // nothing: Dr. GRPO §3.2 (arXiv:2503.20783), DeepSeek-V3.2 §3.1 (arXiv:2512.02556)
};

// How several rewards become one number (TRL: multi_objective_aggregation).
enum class MultiObjectiveAggregation {
  kSumThenNormalize,  // the weighted total (Score::value) is normalised
  kNormalizeThenSum,  // GDPO (arXiv:2601.05242): each reward is normalised in its group, their
                      // weighted sum over the batch
};

// The baseline.
enum class Estimator {
  kGroup,              // the group's mean: GRPO
  kRloo,               // the mean of the other completions of the group, RLOO (arXiv:2402.14740)
  kReinforcePlusPlus,  // no group: mean and standard deviation of the whole batch
                       // (arXiv:2501.03262)
  kReinforcePlusPlusBaseline  // the group's mean, then mean and standard deviation of the whole
                              // batch (same paper)
};

struct AdvantageOptions {
  Estimator estimator = Estimator::kGroup;
  // These two are read by kGroup only.
  ScaleRewards scale_rewards = ScaleRewards::kGroup;
  MultiObjectiveAggregation multi_objective_aggregation =
      MultiObjectiveAggregation::kSumThenNormalize;
  bool normalize_advantages = false;  // kRloo: whiten over the batch afterwards (TRL's RLOOConfig)
  // GDPO's weights by the names of Score::parts; a name not here weighs 1.
  std::map<std::string, double> reward_weights;
};

struct Advantages {
  std::vector<std::vector<float>> values;  // [groups][completions], in the order given
  // reward, reward_std, rewards/{name}/mean|std, frac_reward_zero_std, frac_reward_null: TRL's
  // names and definitions over all completions that were judged; an entry without a finite value is
  // absent.
  std::map<std::string, double> metrics;
};

// The advantages of one rollout's groups. A completion without a score (Score::value empty) is left
// out of every baseline and gets 0. Standard deviations are Bessel-corrected and 1e-4 is added to
// each (TRL); a group with a single score, or with equal scores, gets zeros. `penalties`
// [groups][completions], or empty: subtracted from each total before the baseline is taken (KL in
// the reward, kl.h). It does not reach the metrics nor GDPO's single rewards. Throws InternalError
// when its shape differs.
Advantages compute_advantages(std::span<const data::ScoredGroup> groups,
                              const AdvantageOptions& options,
                              std::span<const std::vector<double>> penalties = {});

// True when two of the group's scores differ: the group has something to teach. DAPO's dynamic
// sampling (arXiv:2503.14476 eq. 11) refills what has not.
bool has_signal(const data::ScoredGroup& group);

// The words a recipe uses: "group" | "batch" | "none"; "sum_then_normalize" | "normalize_then_sum";
// "grpo" | "rloo" | "reinforce_plus_plus" | "reinforce_plus_plus_baseline". An unknown word throws
// UserError with the nearest one.
ScaleRewards scale_rewards_from(const std::string& name);
MultiObjectiveAggregation aggregation_from(const std::string& name);
Estimator estimator_from(const std::string& name);

}  // namespace ponder::grpo
