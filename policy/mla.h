// Multi-head latent attention, DeepSeek-V2 (arXiv:2405.04434) §2.1: keys and values of a token are
// projections of one latent of kv_lora_rank features, which together with the shared rotary key is
// all that the cache holds.
#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "policy/attention.h"
#include "policy/config.h"

namespace ponder::policy {

// Weights [out, in], named as Hugging Face names them.
struct MlaLayer {
  MlaConfig config;
  int64_t num_heads = 0;
  double norm_eps = 1e-6;
  bool rope_interleave = true;
  at::Tensor q_proj;                             // where q_lora_rank is 0
  at::Tensor q_a_proj, q_a_layernorm, q_b_proj;  // where it is not
  at::Tensor kv_a_proj_with_mqa, kv_a_layernorm, kv_b_proj, o_proj;
};

// cos and sin float32 [tokens, qk_rope_head_dim / 2] of each token's position.
struct Rotary {
  at::Tensor cos;
  at::Tensor sin;
};

// x [tokens, hidden] -> [tokens, hidden], sequences laid end to end; differentiable.
at::Tensor mla_forward(const MlaLayer& layer, const at::Tensor& x, const Rotary& rotary,
                       const std::vector<int32_t>& cu_seqlens);

// The same for tokens whose past is in `cache` [slots, kv_lora_rank + qk_rope_head_dim], with
// absorbed projections. Writes the tokens' own latents to the cache at `slots` (int64 [tokens])
// first. No gradient.
at::Tensor mla_forward_cached(const MlaLayer& layer, const at::Tensor& x, const Rotary& rotary,
                              at::Tensor& cache, const at::Tensor& slots,
                              const PagedContext& context);

}  // namespace ponder::policy
