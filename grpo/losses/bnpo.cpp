#include "grpo/losses/variant.h"

namespace ponder::grpo {

// TRL's "bnpo": the clipped surrogate, averaged over the loss tokens of the update,
//   L = 1/(sum_i |o_i|) sum_i sum_t l_t
// Departure from TRL: there the mean is over each micro-batch, here over the whole update, so that
// the loss does not depend on how the update is cut.
const LossVariant kBnpo = {
    .name = "bnpo",
    .token_losses = clipped_surrogate,
    .reduction = Reduction::kUpdateTokens,
    .paper_defaults = [] { return LossOptions{}; },
};

}  // namespace ponder::grpo
