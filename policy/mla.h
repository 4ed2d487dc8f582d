// Multi-head latent attention, DeepSeek-V2 (arXiv:2405.04434) §2.1: keys and values of a token are
// projections of one latent of kv_lora_rank features, which together with the shared rotary key is
// all that the cache holds.
#pragma once

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "policy/attention.h"
#include "policy/config.h"
#include "policy/linear.h"
#include "policy/paged_attention.h"
#include "policy/parameters.h"
#include "policy/rope.h"

namespace ponder::policy {

struct MlaLayer {
  MlaConfig config;
  int64_t num_heads = 0;
  double softmax_scale = 1;
  double norm_eps = 1e-6;  // transformers takes RMSNorm's default here, whatever rms_norm_eps says
  Linear q_proj;           // where q_lora_rank is 0
  Linear q_a_proj, q_b_proj;  // where it is not
  at::Tensor q_a_layernorm;
  Linear kv_a_proj_with_mqa, kv_b_proj, o_proj;
  at::Tensor kv_a_layernorm;
};

// The tensors PREFIXq_a_proj.weight and so on.
MlaLayer build_mla(ParameterMaker& make, const ModelConfig& config, const std::string& prefix);

// Features that the cache holds per token: the latent and the shared rotary key.
int64_t mla_cache_width(const MlaConfig& config);

// x [tokens, hidden] -> [tokens, hidden], sequences laid end to end; differentiable.
at::Tensor mla_forward(const MlaLayer& layer, const at::Tensor& x, const Rotary& rotary,
                       const Segments& segments);

// The same for tokens whose past is in `cache` [slots, kv_lora_rank + qk_rope_head_dim], with
// absorbed projections. Writes the tokens' own latents to the cache at `slots` (int64 [tokens])
// first. No gradient.
at::Tensor mla_forward_cached(const MlaLayer& layer, const at::Tensor& x, const Rotary& rotary,
                              at::Tensor& cache, const at::Tensor& slots,
                              const PagedContext& context);

}  // namespace ponder::policy
