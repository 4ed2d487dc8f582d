// Auxiliary losses that keep a mixture's experts evenly loaded: V3's complementary sequence-wise
// loss (arXiv:2412.19437 eqs. 17-20), V2's expert-level loss (arXiv:2405.04434 eqs. 23-25). The
// weight alpha is the caller's.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "policy/moe.h"

namespace ponder::policy {

enum class BalanceLevel {
  kNone,
  kSequence,  // each sequence by itself, then the mean over sequences
  kBatch,     // all tokens together (V2's expert level)
};

// sum over experts of f_i P_i: 1 where every expert is chosen equally often, n_routed_experts /
// num_experts_per_tok and more where a few take all. f_i is the share of tokens that choose expert
// i times n_routed_experts / num_experts_per_tok, P_i the mean of its scores, normalised over the
// experts. V3 counts the top experts of the bare scores (neither bias nor groups), V2 those that
// the token goes to. Scalar, float32; the gradient flows through P.
at::Tensor balance_loss(const MoeLayer& layer, const Routing& routing,
                        const std::vector<int32_t>& cu_seqlens, BalanceLevel level);

}  // namespace ponder::policy
