#include "grpo/losses/variant.h"

namespace ponder::grpo {

// DAPO, eq. 8 (arXiv:2503.14476): the token-level mean and clip-higher,
//   J = 1/(sum_i |o_i|) sum_i sum_t min[w_t A, clip(w_t, 1 - e-, 1 + e+) A]
// §4.1: e- = 0.2, e+ = 0.28, no KL. The mean is over the rollout's tokens, shared evenly among its
// updates (TRL). Dynamic sampling and the overlong filter and shaping stand elsewhere: recipes,
// batch.h, rewards.
const LossVariant kDapo = {
    .name = "dapo",
    .token_losses = clipped_surrogate,
    .reduction = Reduction::kRolloutTokens,
    .paper_defaults = [] { return LossOptions{.epsilon = 0.2, .epsilon_high = 0.28}; },
};

}  // namespace ponder::grpo
