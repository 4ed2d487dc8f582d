// Attention over sequences laid end to end. Knows neither where queries and keys come from nor
// positions.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ponder::policy {

// Causal softmax attention within each sequence; no token sees across a border. q [tokens, heads,
// qk_dim], k [tokens, kv_heads, qk_dim], v [tokens, kv_heads, v_dim], heads a multiple of kv_heads:
// query head h reads head h * kv_heads / heads. cu_seqlens [sequences + 1] with cu_seqlens[0] = 0
// and the last = tokens. A token sees the last `window` positions, its own included; 0: all.
// Returns [tokens, heads, v_dim]. Differentiable in q, k, v; saves no [length, length] scores:
// backward makes them again.
at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<int32_t>& cu_seqlens, double scale,
                            int64_t window = 0);

}  // namespace ponder::policy
