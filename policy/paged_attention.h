// Attention of new tokens over a paged cache. Each query's result is a function of its own inputs
// alone: the same bits in any batch. No gradients.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace ponder::policy {

// Where each query finds its past in a paged cache. Slot of position p of a row: block_table[row, p
// / block_size] * block_size + p % block_size.
struct PagedContext {
  at::Tensor rows;          // int32 [queries]: each query's row in block_table
  at::Tensor lengths;       // int32 [queries]: positions it attends to, its own included
  at::Tensor block_table;   // int32 [rows, blocks]
  int64_t block_size = 16;  // tokens
};

// Attention over cached latents, MLA with absorbed projections (DeepSeek-V2, arXiv:2405.04434,
// §2.1.2): the score of position p is scale * <query, cache[p]>, the result the softmax-weighted
// sum of the first `value_dim` features of cache[p]. queries [queries, heads, width], cache [slots,
// width], both float32 or both bfloat16; sums are in float32. Returns [queries, heads, value_dim]
// in their dtype.
at::Tensor latent_attention(const at::Tensor& queries, const at::Tensor& cache,
                            const PagedContext& context, int64_t value_dim, double scale);

// Attention over cached keys and values: cache [slots, 2 * kv_heads * dim] holds all heads' keys,
// then all heads' values. queries [queries, heads, dim], heads a multiple of kv_heads: query head h
// reads head h * kv_heads / heads. A query sees its last `window` positions, its own included; 0:
// all. float32 or bfloat16, sums in float32. Returns [queries, heads, dim] in the queries' dtype.
at::Tensor paged_attention(const at::Tensor& queries, const at::Tensor& cache,
                           const PagedContext& context, int64_t kv_heads, double scale,
                           int64_t window = 0);

}  // namespace ponder::policy
