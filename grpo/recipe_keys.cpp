#include "grpo/recipe_keys.h"

namespace ponder::grpo {

void bind(core::Binder& b, AdvantageOptions& o) {
  b.choice<Estimator>("estimator", o.estimator,
                      {{"grpo", Estimator::kGroup},
                       {"rloo", Estimator::kRloo},
                       {"reinforce_plus_plus", Estimator::kReinforcePlusPlus},
                       {"reinforce_plus_plus_baseline", Estimator::kReinforcePlusPlusBaseline}},
                      "the baseline");
  b.choice<ScaleRewards>("scale_rewards", o.scale_rewards,
                         {{"group", ScaleRewards::kGroup},
                          {"batch", ScaleRewards::kBatch},
                          {"none", ScaleRewards::kNone}},
                         "what rewards less their baseline are divided by");
  b.choice<MultiObjectiveAggregation>(
      "multi_objective_aggregation", o.multi_objective_aggregation,
      {{"sum_then_normalize", MultiObjectiveAggregation::kSumThenNormalize},
       {"normalize_then_sum", MultiObjectiveAggregation::kNormalizeThenSum}},
      "how several rewards become one");
}

void bind(core::Binder& b, LossOptions& o) {
  std::vector<std::pair<std::string, std::string>> types;
  for (const std::string& name : loss_types()) types.emplace_back(name, name);
  b.choice<std::string>("loss_type", o.loss_type, types, "which loss");
  b.choice<ImportanceLevel>(
      "importance_sampling_level", o.importance_sampling_level,
      {{"token", ImportanceLevel::kToken}, {"sequence", ImportanceLevel::kSequence}},
      "probability ratios per token or per sequence");
  b.field("epsilon", o.epsilon, "clip range below 1", {.low = 0});
  b.field("epsilon_high", o.epsilon_high, "clip range above 1; as epsilon where unset", {.low = 0});
  b.field("delta", o.delta, "upper bound of the ratio for either sign; none where unset",
          {.low = 0});
  b.field("beta", o.beta, "weight of the KL to the reference policy", {.low = 0});
  b.choice<KlEstimator>(
      "kl_estimator", o.kl_estimator,
      {{"k1", KlEstimator::kK1}, {"k2", KlEstimator::kK2}, {"k3", KlEstimator::kK3}},
      "estimate of the KL");
  b.field("use_bias_correction_kl", o.use_bias_correction_kl,
          "weigh the KL by the probability ratio");
  b.field("entropy_coef", o.entropy_coef, "weight of the entropy bonus", {.low = 0});
}

}  // namespace ponder::grpo
