// Attention over sequences laid end to end, and over cached latents. Neither knows where queries
// and keys come from.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ponder::policy {

// Causal softmax attention within each sequence; no token sees across a border. q, k [tokens,
// heads, qk_dim], v [tokens, heads, v_dim], cu_seqlens [sequences + 1] with cu_seqlens[0] = 0 and
// the last = tokens. Returns [tokens, heads, v_dim]. Differentiable in q, k, v; saves no [length,
// length] scores: backward makes them again.
at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const std::vector<int32_t>& cu_seqlens, double scale);

// Where each query finds its past in a paged cache. Slot of position p of a row: block_table[row, p
// / block_size] * block_size + p % block_size.
struct PagedContext {
  at::Tensor rows;          // int32 [queries]: each query's row in block_table
  at::Tensor lengths;       // int32 [queries]: positions it attends to, its own included
  at::Tensor block_table;   // int32 [rows, blocks]
  int64_t block_size = 16;  // tokens
};

// One query's attention over cached latents, MLA with absorbed projections (DeepSeek-V2,
// arXiv:2405.04434, §2.1.2): the score of position p is scale * <query, cache[p]>, the result the
// softmax-weighted sum of the first `value_dim` features of cache[p]. queries float32 [queries,
// heads, width], cache float32 [slots, width]. Returns float32 [queries, heads, value_dim]. Each
// query's result is a function of its own inputs alone: the same bits in any batch.
at::Tensor latent_attention(const at::Tensor& queries, const at::Tensor& cache,
                            const PagedContext& context, int64_t value_dim, double scale);

}  // namespace ponder::policy
