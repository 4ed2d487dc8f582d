// Attention of training: sequences laid end to end, without padding, forward and backward. Knows
// neither where queries and keys come from nor positions.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ponder::policy {

// How tokens laid end to end belong together. Segment s is tokens cu_seqlens[s] .. cu_seqlens[s +
// 1]. `parents` makes segments trees: segment s goes on from segment parents[s] < s, and its tokens
// see that segment and its ancestors whole before their own past; -1: it starts a sequence. So
// completions share their prompt's keys and values.
struct Segments {
  std::vector<int32_t> cu_seqlens;  // [segments + 1], ascending, from 0 to the number of tokens
  std::vector<int32_t> parents;     // [segments], or empty: every segment is a sequence
};

// Causal softmax attention within sequences. q [tokens, heads, qk_dim], k [tokens, kv_heads,
// qk_dim], v [tokens, kv_heads, v_dim]; heads is a multiple of kv_heads, and query head h reads key
// head h / (heads / kv_heads) (grouped-query attention). The gradient that reaches a shared segment
// is the sum over those that go on from it. A token sees the last `window` positions, its own
// included; 0: all.
//
// Returns [tokens, heads, v_dim] in q's dtype (float32, bfloat16, float64); the arithmetic is
// float32 (float64 for float64). Differentiable in q, k, v. Blockwise softmax and its backward as
// in FlashAttention-2 (arXiv:2307.08691, algorithms 1 and 2): no [length, length] scores exist,
// blocks above the diagonal are never computed, keys are not copied for each query head. A tree's
// result is a function of the tree alone: the same bits in any batch and with any number of
// threads.
at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const Segments& segments, double scale, int64_t window = 0);

}  // namespace ponder::policy
