#include "grpo/losses/variant.h"

namespace ponder::grpo {

// GRPO as DeepSeekMath writes it, eq. 3 (arXiv:2402.03300):
//   J = 1/G sum_i 1/|o_i| sum_t { min[w_t A, clip(w_t, 1 - e, 1 + e) A] - beta k3_t },  w_t =
//   pi(o_t)/pi_old(o_t)
// §4.2: beta 0.04. The paper does not state e; 0.2 is PPO's. Its KL is not multiplied by w.
const LossVariant kGrpo = {
    .name = "grpo",
    .token_losses = clipped_surrogate,
    .reduction = Reduction::kSequenceMean,
    .paper_defaults = [] { return LossOptions{.beta = 0.04, .use_bias_correction_kl = false}; },
};

}  // namespace ponder::grpo
