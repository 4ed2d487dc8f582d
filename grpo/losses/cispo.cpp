#include <ATen/ATen.h>

#include "grpo/losses/variant.h"

namespace ponder::grpo {
namespace {

at::Tensor token_losses(const LossTerms& terms, MetricCollector& metrics) {
  const double cap = terms.epsilon_high();
  const at::Tensor weight = terms.weight.detach();
  const at::Tensor clipped = (weight > cap).logical_and(terms.advantages > 0);
  metrics.mean("cispo_clip_ratio",
               terms.per_sequence ? terms.segments.mean(clipped.to(at::kDouble)) : clipped);
  return -weight.clamp_max(cap) * terms.advantages * terms.logprobs;
}

}  // namespace

// CISPO, MiniMax-M1 eq. 4-5 (arXiv:2506.13585): every token keeps a gradient, the clipped weight is
// a constant,
//   J = 1/(sum_i |o_i|) sum_i sum_t sg(min(w_t, e_max)) A log pi(o_t)
// epsilon_high is e_max itself (not 1 + e); 5.0 is ScaleRL's (arXiv:2510.13786). The lower side is
// not clipped. No KL.
const LossVariant kCispo = {
    .name = "cispo",
    .token_losses = token_losses,
    .reduction = Reduction::kRolloutTokens,
    .paper_defaults = [] { return LossOptions{.epsilon_high = 5.0}; },
};

}  // namespace ponder::grpo
