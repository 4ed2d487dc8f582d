// Grouped-query attention (arXiv:2305.13245) as Llama, Mistral, Qwen2 and Qwen3 have it: rotary
// queries and keys, optionally biases, optionally a norm of each head's queries and keys.
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

struct GqaLayer {
  GqaConfig config;
  int64_t num_heads = 0;
  double norm_eps = 1e-6;
  int64_t window = 0;  // positions that a token sees at most, its own included; 0: all
  Linear q_proj, k_proj, v_proj, o_proj;
  at::Tensor q_norm, k_norm;  // [head_dim] where qk_norm
};

// The tensors PREFIXq_proj.weight and so on.
GqaLayer build_gqa(ParameterMaker& make, const ModelConfig& config, const std::string& prefix,
                   int64_t layer);

// Features that the cache holds per token: all heads' keys, then all heads' values.
int64_t gqa_cache_width(const GqaConfig& config);

// x [tokens, hidden] -> [tokens, hidden], sequences laid end to end; differentiable.
at::Tensor gqa_forward(const GqaLayer& layer, const at::Tensor& x, const Rotary& rotary,
                       const Segments& segments);

// The same for tokens whose past is in `cache` [slots, gqa_cache_width]. Writes the tokens' own
// keys and values to the cache at `slots` (int64 [tokens]) first. No gradient.
at::Tensor gqa_forward_cached(const GqaLayer& layer, const at::Tensor& x, const Rotary& rotary,
                              at::Tensor& cache, const at::Tensor& slots,
                              const PagedContext& context);

}  // namespace ponder::policy
