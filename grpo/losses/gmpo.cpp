#include <ATen/ATen.h>

#include "grpo/bounded_exp.h"
#include "grpo/losses/variant.h"

namespace ponder::grpo {
namespace {

at::Tensor token_losses(const LossTerms& terms, MetricCollector& metrics) {
  const double low = -terms.options.epsilon, high = terms.epsilon_high();
  const at::Tensor advantages = terms.segments.spread(terms.segments.mean(terms.advantages));
  const at::Tensor& r = terms.log_ratio;
  const at::Tensor up = advantages > 0;
  // PPO's min in log space: only the side that would gain from leaving the range is clipped.
  const at::Tensor clipped = at::where(up, r.clamp_max(high), r.clamp_min(low));
  at::Tensor mean;
  if (terms.entropy_mask.defined()) {
    const at::Tensor kept = terms.entropy_mask.to(r.scalar_type());
    mean = terms.segments.sum(clipped * kept) / terms.segments.sum(kept).clamp_min(1);
  } else {
    mean = terms.segments.mean(clipped);
  }
  metrics.clip_ratios((r < low).logical_and(advantages < 0), (r > high).logical_and(up),
                      terms.segments, false);
  return -bounded_exp(terms.segments.spread(mean)) * advantages;
}

}  // namespace

// GMPO (arXiv:2507.20673): the geometric mean of the clipped ratios,
//   J = 1/G sum_i { prod_t min[(w_t)^sgn(A), clip((w_t)^sgn(A), exp(-e), exp(e))]^sgn(A)
//   }^(1/|o_i|) A
// §4: e = 0.4 in log space. A KL term is each token's, averaged over the sequence. One advantage a
// sequence: the mean of its tokens' where they differ.
const LossVariant kGmpo = {
    .name = "gmpo",
    .token_losses = token_losses,
    .reduction = Reduction::kSequenceMean,
    .paper_defaults = [] { return LossOptions{.epsilon = 0.4}; },
    .kl = KlForm::kTokenPlain,
    .applies_entropy_mask = true,
};

}  // namespace ponder::grpo
