#include "grpo/losses/variant.h"

namespace ponder::grpo {

// GRPO as DeepSeek-R1 writes it, eq. 1-2 (arXiv:2501.12948): per sequence.
//   J = 1/G sum_i { min[w_i A, clip(w_i, 1 - e, 1 + e) A] - beta D_i },  w_i =
//   pi(o_i|q)/pi_old(o_i|q), D_i = pi_ref(o_i|q)/pi(o_i|q) - log(pi_ref(o_i|q)/pi(o_i|q)) - 1
// so w_i is the product over the tokens and D_i is k3 of the whole completion. §3.2: e = 10, beta =
// 0.001. Departure: exponents are bounded (bounded_exp.h), since the product leaves float32's range
// on long completions.
const LossVariant kR1 = {
    .name = "r1",
    .token_losses = clipped_surrogate,
    .reduction = Reduction::kSequenceMean,
    .paper_defaults =
        [] { return LossOptions{.epsilon = 10.0, .beta = 0.001, .use_bias_correction_kl = false}; },
    .weight = WeightForm::kSequenceProduct,
    .kl = KlForm::kSequence,
};

}  // namespace ponder::grpo
