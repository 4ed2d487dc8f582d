#include <cmath>

#include <ATen/ATen.h>

#include "grpo/losses/variant.h"

namespace ponder::grpo {
namespace {

constexpr double kLogWeightMax = 20.0;
const double kLogWeightMin = std::log(1e-8);

// log W of each sequence, [S]: W = prod pi/pi_old, times the sampler's correction where there is
// one.
at::Tensor log_sequence_weight(const LossTerms& terms) {
  at::Tensor log_weight =
      terms.segments.sum(terms.log_ratio.detach().clamp(-kLogWeightMax, kLogWeightMax));
  if (terms.importance_ratios.defined()) {
    log_weight = log_weight + terms.segments.sum(terms.importance_ratios.log().clamp(
                                  kLogWeightMin, kLogWeightMax));
  }
  return log_weight.clamp(kLogWeightMin, kLogWeightMax);
}

at::Tensor token_losses(const LossTerms& terms, MetricCollector& metrics) {
  const LossOptions& o = terms.options;
  const at::Tensor& advantages = terms.advantages;
  const at::Tensor up = advantages >= 0;
  // TRL holds k and lambda in float32 even where all else is float64.
  const auto by_sign = [&](double pos, double neg) {
    return at::full_like(advantages, static_cast<float>(neg))
        .masked_fill(up, static_cast<float>(pos));
  };
  const at::Tensor k = by_sign(o.vespo_k_pos, o.vespo_k_neg);
  const at::Tensor lambda = by_sign(o.vespo_lambda_pos, o.vespo_lambda_neg).clamp_min(1e-4);
  const at::Tensor log_weight = terms.segments.spread(log_sequence_weight(terms));
  const at::Tensor phi = (lambda + k * log_weight - lambda * log_weight.exp()).exp();
  // An empty sequence has W = 1 and phi(1) = 1.
  metrics.mean("vespo/phi_seq_mean",
               terms.segments.constant(advantages)
                   ? terms.segments.mean(phi).masked_fill(terms.segments.empty(), 1.0)
                   : phi);
  return -phi * advantages * terms.logprobs;
}

}  // namespace

// VESPO (arXiv:2602.10693): REINFORCE with a smooth, detached weight on the sequence's ratio W,
//   J = 1/(sum_i |o_i|) sum_i phi(W_i) A_i sum_t log pi(o_t),  phi(W) = W^k exp(lambda (1 - W)),
//   phi(1) = 1
// (k, lambda) = (2, 3) for A >= 0, (3, 2) for A < 0. Per-token log-ratios are bounded to +-20, log
// W to [ln 1e-8, 20], as in the authors' code.
const LossVariant kVespo = {
    .name = "vespo",
    .token_losses = token_losses,
    .reduction = Reduction::kRolloutTokens,
    .paper_defaults =
        [] { return LossOptions{.importance_correction = ImportanceCorrection::kTokenTruncate}; },
    .applies_importance_ratios = true,
};

}  // namespace ponder::grpo
