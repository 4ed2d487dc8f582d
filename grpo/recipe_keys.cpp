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
  b.field("normalize_advantages", o.normalize_advantages,
          "whiten over the batch afterwards (estimator rloo)");
}

namespace {

void bind_clipping(core::Binder& b, LossOptions& o) {
  b.field("epsilon", o.epsilon, "clip range below 1", {.low = 0});
  b.field("epsilon_high", o.epsilon_high, "clip range above 1; as epsilon where unset", {.low = 0});
  b.field("delta", o.delta, "upper bound of the ratio for either sign; none where unset",
          {.low = 0});
  b.field("sapo_temperature_pos", o.sapo_temperature_pos, "sapo, A > 0", {.low = 1e-6});
  b.field("sapo_temperature_neg", o.sapo_temperature_neg, "sapo, A <= 0", {.low = 1e-6});
  b.field("vespo_k_pos", o.vespo_k_pos, "vespo, A >= 0", {.low = 0});
  b.field("vespo_lambda_pos", o.vespo_lambda_pos, "vespo, A >= 0", {.low = 0});
  b.field("vespo_k_neg", o.vespo_k_neg, "vespo, A < 0", {.low = 0});
  b.field("vespo_lambda_neg", o.vespo_lambda_neg, "vespo, A < 0", {.low = 0});
}

void bind_kl(core::Binder& b, LossOptions& o) {
  b.field("beta", o.beta, "weight of the KL to the reference policy", {.low = 0});
  b.choice<KlEstimator>(
      "kl_estimator", o.kl_estimator,
      {{"k1", KlEstimator::kK1}, {"k2", KlEstimator::kK2}, {"k3", KlEstimator::kK3}},
      "estimate of the KL");
  b.field("use_bias_correction_kl", o.use_bias_correction_kl,
          "weigh the KL by the probability ratio");
}

void bind_entropy(core::Binder& b, LossOptions& o) {
  b.field("top_entropy_quantile", o.top_entropy_quantile,
          "train this share of the tokens, those of highest entropy", {.low = 1e-6, .high = 1});
  b.field("entropy_coef", o.entropy_coef, "weight of the entropy bonus", {.low = 0});
  b.field("use_adaptive_entropy", o.use_adaptive_entropy,
          "the weight follows entropy_target; entropy_coef is its start");
  b.field("entropy_target", o.entropy_target, "nats; at or below it the bonus applies", {.low = 0});
  b.field("entropy_coef_delta", o.entropy_coef_delta, "the weight's change an update", {.low = 0});
  b.field("entropy_coef_min", o.entropy_coef_min, "the weight's lower bound", {.low = 0});
  b.field("entropy_coef_max", o.entropy_coef_max, "the weight's upper bound", {.low = 0});
}

void bind_off_policy(core::Binder& b, LossOptions& o) {
  b.field("off_policy_mask_threshold", o.off_policy_mask_threshold,
          "drop sequences with A < 0 whose mean log(pi_old / pi) is above this; none where unset",
          {.low = 0});
  b.field(
      "vllm_importance_sampling_correction", o.correct_sampler,
      "weigh by pi_old / pi_sampler where they differ: bfloat16, a GPU, a server, older weights");
  b.choice<ImportanceCorrection>("vllm_importance_sampling_mode", o.importance_correction,
                                 {{"token_truncate", ImportanceCorrection::kTokenTruncate},
                                  {"token_mask", ImportanceCorrection::kTokenMask},
                                  {"sequence_truncate", ImportanceCorrection::kSequenceTruncate},
                                  {"sequence_mask", ImportanceCorrection::kSequenceMask}},
                                 "how that ratio is bounded");
  b.field("vllm_importance_sampling_clip_max", o.importance_clip_max, "its upper bound",
          {.low = 0});
  b.field("vllm_importance_sampling_clip_min", o.importance_clip_min,
          "its lower bound; none where unset", {.low = 0});
}

}  // namespace

void bind(core::Binder& b, LossOptions& o) {
  std::vector<std::pair<std::string, std::string>> types;
  for (const std::string& name : loss_types()) types.emplace_back(name, name);
  b.choice<std::string>("loss_type", o.loss_type, types, "which loss");
  b.choice<ImportanceLevel>(
      "importance_sampling_level", o.importance_sampling_level,
      {{"token", ImportanceLevel::kToken}, {"sequence", ImportanceLevel::kSequence}},
      "probability ratios per token or per sequence");
  bind_clipping(b, o);
  bind_kl(b, o);
  bind_entropy(b, o);
  bind_off_policy(b, o);
}

}  // namespace ponder::grpo
