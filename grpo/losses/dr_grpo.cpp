#include "grpo/losses/variant.h"

namespace ponder::grpo {

// Dr. GRPO, §3.2 (arXiv:2503.20783): neither 1/|o_i| nor the standard deviation,
//   L = 1/(G L_max) sum_i sum_t l_t,  A = r - mean(r)
// L_max is max_completion_length, a constant. Use with scale_rewards "none". No KL.
const LossVariant kDrGrpo = {
    .name = "dr_grpo",
    .token_losses = clipped_surrogate,
    .reduction = Reduction::kFixedLength,
    .paper_defaults = [] { return LossOptions{}; },
    .scale_rewards = ScaleRewards::kNone,
};

}  // namespace ponder::grpo
