#include <ATen/ATen.h>

#include "grpo/losses/variant.h"

namespace ponder::grpo {
namespace {

at::Tensor token_losses(const LossTerms& terms, MetricCollector&) {
  const at::Tensor& advantages = terms.advantages;
  // TRL holds the temperatures in float32 even where all else is float64.
  const auto pos = static_cast<float>(terms.options.sapo_temperature_pos);
  const auto neg = static_cast<float>(terms.options.sapo_temperature_neg);
  const at::Tensor tau = at::full_like(advantages, neg).masked_fill(advantages > 0, pos);
  return -(at::sigmoid(tau * (terms.weight - 1)) * 4 / tau) * advantages;
}

}  // namespace

// SAPO (arXiv:2511.20347): a soft gate instead of the clip,
//   J = 1/G sum_i 1/|o_i| sum_t f(w_t) A,  f(w) = 4/tau sigmoid(tau (w - 1)),
//   tau = tau_pos if A > 0, else tau_neg
// f'(1) = 1: on-policy the gradient is GRPO's. tau_pos = 1, tau_neg = 1.05.
const LossVariant kSapo = {
    .name = "sapo",
    .token_losses = token_losses,
    .reduction = Reduction::kSequenceMean,
    .paper_defaults = [] { return LossOptions{}; },
};

}  // namespace ponder::grpo
