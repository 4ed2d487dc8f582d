#include "grpo/losses/variant.h"

namespace ponder::grpo {

// RLOO (arXiv:2402.14740) as TRL's RLOOTrainer has it: the completion is one action,
//   L = -1/G sum_i min[w_i A, clip(w_i, 1 - e, 1 + e) A],  w_i = prod_t pi(o_t)/pi_old(o_t)
// On-policy its gradient is REINFORCE's, A sum_t grad log pi(o_t). Use with the estimator "rloo"
// and the KL in the reward (kl_penalties, k1); beta here adds a KL to the loss beside it. e = 0.2.
const LossVariant kRloo = {
    .name = "rloo",
    .token_losses = clipped_surrogate,
    .reduction = Reduction::kSequenceMean,
    .paper_defaults = [] { return LossOptions{}; },
    .estimator = Estimator::kRloo,
    .weight = WeightForm::kSequenceProduct,
    .kl = KlForm::kTokenPlain,
};

}  // namespace ponder::grpo
