#include "grpo/losses/variant.h"

namespace ponder::grpo {

// GSPO, eq. 5-7 (arXiv:2507.18071):
//   J = 1/G sum_i min[s_i A, clip(s_i, 1 - e-, 1 + e+) A],  s_i = exp(1/|o_i| sum_t
//   log(pi(o_t)/pi_old(o_t)))
// §5.1: e- = 3e-4, e+ = 4e-4, no KL. The same as grpo with importance_sampling_level "sequence".
const LossVariant kGspo = {
    .name = "gspo",
    .token_losses = clipped_surrogate,
    .reduction = Reduction::kSequenceMean,
    .paper_defaults =
        [] {
          return LossOptions{.importance_sampling_level = ImportanceLevel::kSequence,
                             .epsilon = 3e-4,
                             .epsilon_high = 4e-4};
        },
};

}  // namespace ponder::grpo
