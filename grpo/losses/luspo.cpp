#include "grpo/losses/variant.h"

namespace ponder::grpo {

// LUSPO (arXiv:2602.05261): GSPO's objective with each sequence weighing its length, which undoes
// the bias to short completions,
//   J = 1/G sum_i |o_i| min[s_i A, clip(s_i, 1 - e-, 1 + e+) A]
// s_i as in GSPO. §5.1: e- = 2e-3, e+ = 2.5e-3.
const LossVariant kLuspo = {
    .name = "luspo",
    .token_losses = clipped_surrogate,
    .reduction = Reduction::kSequenceSum,
    .paper_defaults =
        [] {
          return LossOptions{.importance_sampling_level = ImportanceLevel::kSequence,
                             .epsilon = 2e-3,
                             .epsilon_high = 2.5e-3};
        },
};

}  // namespace ponder::grpo
