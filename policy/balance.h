// Auxiliary losses that keep a mixture's experts evenly loaded: V3's complementary sequence-wise
// loss (arXiv:2412.19437 eqs. 17-20), V2's expert-level, device-level and communication losses
// (arXiv:2405.04434 eqs. 23-31).
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "policy/moe.h"

namespace ponder::core {
class Binder;
}

namespace ponder::policy {

// The weight (the papers' alpha) of each loss; 0: not asked for. V3 trains with sequence 0.0001, V2
// with expert 0.003, device 0.05 and communication 0.02.
struct BalanceWeights {
  double sequence = 0;       // each sequence by itself, then the mean over sequences
  double expert = 0;         // all tokens together
  double device = 0;         // the same by groups of experts, n_group, which lie on a device each
  double communication = 0;  // how many tokens each group receives
  bool any() const { return sequence > 0 || expert > 0 || device > 0 || communication > 0; }
};
void bind(core::Binder& b, BalanceWeights& weights);

// The weighted sum of the losses asked for. Each is a sum of f P: 1 where all experts (or groups)
// are chosen equally often, n_routed_experts / num_experts_per_tok and more where a few take all.
// Of an expert f is the share of tokens that choose it times n_routed_experts / num_experts_per_tok
// and P the mean of its scores, normalised over the experts; of a group f is the mean of its
// experts' (for communication the share of tokens that go there times n_group / topk_group) and P
// the sum of theirs. V3 counts the top experts of the bare scores (neither bias nor groups), V2
// those that the token goes to. Scalar, float32; the gradient flows through P.
at::Tensor balance_loss(const MoeLayer& layer, const Routing& routing,
                        const std::vector<int32_t>& cu_seqlens, const BalanceWeights& weights);

}  // namespace ponder::policy
