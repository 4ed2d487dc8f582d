// What one loss variant is: a function from ratios and advantages to a loss a token, how those are
// averaged, and the options its paper uses. losses/<name>.cpp defines one, registry.cpp lists them.
#pragma once

#include <span>
#include <string>

#include <ATen/core/Tensor.h>

#include "grpo/loss.h"
#include "grpo/metric_collector.h"
#include "grpo/segments.h"

namespace ponder::grpo {

// What a variant sees of one call. All tensors [n]; only logprobs, log_ratio, log_weight and weight
// carry a graph.
struct LossTerms {
  LossTerms(const LossOptions& its_options, const Segments& its_segments)
      : options(its_options), segments(its_segments) {}

  const LossOptions& options;
  const Segments& segments;
  at::Tensor logprobs;
  at::Tensor log_ratio;   // log pi - log pi_old of each token
  at::Tensor log_weight;  // log of the importance weight, at the level that the variant or the
                          // options ask for
  at::Tensor weight;      // exp(log_weight)
  at::Tensor advantages;
  at::Tensor entropy_mask;       // bool; undefined: all tokens
  at::Tensor importance_ratios;  // pi_old / pi_sampler, truncated or masked; undefined: none
  bool per_sequence = false;     // log_weight and advantages have one value a sequence

  double epsilon_high() const { return options.epsilon_high.value_or(options.epsilon); }
};

// How the token losses l_t become one number. |o_i|: loss tokens of sequence i.
enum class Reduction {
  kSequenceMean,   // 1/sequences sum_i 1/|o_i| sum_t l_t
  kSequenceSum,    // 1/sequences sum_i sum_t l_t
  kUpdateTokens,   // 1/(loss tokens of the update) sum l_t
  kRolloutTokens,  // 1/(loss tokens of the rollout / its updates) sum l_t
  kFixedLength,    // 1/(sequences max_completion_length) sum l_t
};

// The importance weight w.
enum class WeightForm {
  kAsOptions,        // LossOptions::importance_sampling_level
  kSequenceProduct,  // prod_t pi/pi_old: the probability ratio of whole completions
};

// The KL term beside the surrogate.
enum class KlForm {
  kToken,       // of each token, times w where use_bias_correction_kl says so
  kTokenPlain,  // of each token, never times w
  kSequence,    // of the whole completion's probability, spread over its tokens
};

struct LossVariant {
  const char* name;
  // The loss of each token, [n], before masks, correction and KL; records the variant's own
  // metrics.
  at::Tensor (*token_losses)(const LossTerms& terms, MetricCollector& metrics);
  Reduction reduction;
  LossOptions (*paper_defaults)();          // loss_type need not be set
  Estimator estimator = Estimator::kGroup;  // the paper's advantages
  ScaleRewards scale_rewards = ScaleRewards::kGroup;
  WeightForm weight = WeightForm::kAsOptions;
  KlForm kl = KlForm::kToken;
  // token_losses has seen to the entropy mask, to the sampler's correction itself.
  bool applies_entropy_mask = false, applies_importance_ratios = false;
};

// The table, one line a variant.
std::span<const LossVariant* const> loss_registry();

// UserError with the nearest name when there is none.
const LossVariant& find_loss(const std::string& loss_type);

// PPO's clipped surrogate, DeepSeekMath eq. 3 (arXiv:2402.03300):
//   l = -min(min(w, delta) A, clip(w, 1 - epsilon, 1 + epsilon_high) A)
// delta (where set) bounds w for A < 0 (two-sided clipping); as in TRL it is applied for either
// sign of A.
at::Tensor clipped_surrogate(const LossTerms& terms, MetricCollector& metrics);

extern const LossVariant kGrpo, kR1, kGspo, kBnpo, kDrGrpo, kDapo, kLuspo, kCispo, kSapo, kVespo,
    kGmpo, kRloo;

}  // namespace ponder::grpo
