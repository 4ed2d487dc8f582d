#include <ATen/ATen.h>

#include "grpo/losses/variant.h"

namespace ponder::grpo {

at::Tensor clipped_surrogate(const LossTerms& terms, MetricCollector& metrics) {
  const double low = 1 - terms.options.epsilon, high = 1 + terms.epsilon_high();
  const at::Tensor clipped = terms.weight.clamp(low, high);
  const at::Tensor weight =
      terms.options.delta ? terms.weight.clamp_max(*terms.options.delta) : terms.weight;
  const at::Tensor& advantages = terms.advantages;
  const at::Tensor detached = weight.detach();
  metrics.clip_ratios((detached < low).logical_and(advantages < 0),
                      (detached > high).logical_and(advantages > 0), terms.segments,
                      terms.per_sequence);
  return -at::minimum(weight * advantages, clipped * advantages);
}

}  // namespace ponder::grpo
