#include "policy/mla.h"

#include <cmath>

#include <ATen/ATen.h>

#include "policy/attention.h"
#include "policy/ops.h"

namespace ponder::policy {
namespace {

// The two parts of the queries: without rotation [tokens, heads, nope] and rotated [tokens, heads,
// rope].
struct Queries {
  at::Tensor nope;
  at::Tensor rope;
};

Queries make_queries(const MlaLayer& layer, const at::Tensor& x, const Rotary& rotary) {
  const MlaConfig& c = layer.config;
  const at::Tensor flat =
      c.q_lora_rank == 0
          ? layer.q_proj(x)
          : layer.q_b_proj(rms_norm(layer.q_a_proj(x), layer.q_a_layernorm, layer.norm_eps));
  const at::Tensor q = flat.view({x.size(0), layer.num_heads, c.qk_head_dim()});
  return {q.narrow(2, 0, c.qk_nope_head_dim),
          rotate(q.narrow(2, c.qk_nope_head_dim, c.qk_rope_head_dim), rotary.cos, rotary.sin,
                 layer.config.rope_interleave)};
}

// The normed latent [tokens, kv_lora_rank] and the rotated key [tokens, 1, rope] that all heads
// share.
struct Latent {
  at::Tensor compressed;
  at::Tensor rope;
};

Latent make_latent(const MlaLayer& layer, const at::Tensor& x, const Rotary& rotary) {
  const MlaConfig& c = layer.config;
  const at::Tensor both = layer.kv_a_proj_with_mqa(x);
  return {rms_norm(both.narrow(1, 0, c.kv_lora_rank), layer.kv_a_layernorm, layer.norm_eps),
          rotate(both.narrow(1, c.kv_lora_rank, c.qk_rope_head_dim).unsqueeze(1), rotary.cos,
                 rotary.sin, layer.config.rope_interleave)};
}

}  // namespace

MlaLayer build_mla(ParameterMaker& make, const ModelConfig& config, const std::string& prefix) {
  const MlaConfig& c = config.mla;
  const int64_t heads = config.num_attention_heads, hidden = config.hidden_size;
  MlaLayer layer;
  layer.config = c;
  layer.num_heads = heads;
  layer.softmax_scale =
      mla_scale_factor(config.rope) / std::sqrt(static_cast<double>(c.qk_head_dim()));
  if (c.q_lora_rank == 0) {
    layer.q_proj = make.linear(prefix + "q_proj", heads * c.qk_head_dim(), hidden);
  } else {
    layer.q_a_proj = make.linear(prefix + "q_a_proj", c.q_lora_rank, hidden, c.bias);
    layer.q_a_layernorm = make.weight(prefix + "q_a_layernorm.weight", {c.q_lora_rank});
    layer.q_b_proj = make.linear(prefix + "q_b_proj", heads * c.qk_head_dim(), c.q_lora_rank);
  }
  layer.kv_a_proj_with_mqa = make.linear(prefix + "kv_a_proj_with_mqa",
                                         c.kv_lora_rank + c.qk_rope_head_dim, hidden, c.bias);
  layer.kv_a_layernorm = make.weight(prefix + "kv_a_layernorm.weight", {c.kv_lora_rank});
  layer.kv_b_proj = make.linear(prefix + "kv_b_proj", heads * (c.qk_nope_head_dim + c.v_head_dim),
                                c.kv_lora_rank);
  layer.o_proj = make.linear(prefix + "o_proj", hidden, heads * c.v_head_dim, c.bias);
  return layer;
}

int64_t mla_cache_width(const MlaConfig& config) {
  return config.kv_lora_rank + config.qk_rope_head_dim;
}

at::Tensor mla_forward(const MlaLayer& layer, const at::Tensor& x, const Rotary& rotary,
                       const Segments& segments) {
  const MlaConfig& c = layer.config;
  const int64_t tokens = x.size(0), heads = layer.num_heads;
  const Queries queries = make_queries(layer, x, rotary);
  const Latent latent = make_latent(layer, x, rotary);
  const at::Tensor kv =
      layer.kv_b_proj(latent.compressed).view({tokens, heads, c.qk_nope_head_dim + c.v_head_dim});
  const at::Tensor q = at::cat({queries.nope, queries.rope}, 2);
  const at::Tensor k = at::cat({kv.narrow(2, 0, c.qk_nope_head_dim),
                                latent.rope.expand({tokens, heads, c.qk_rope_head_dim})},
                               2);
  const at::Tensor v = kv.narrow(2, c.qk_nope_head_dim, c.v_head_dim);
  const at::Tensor out = packed_attention(q, k, v, segments, layer.softmax_scale);
  return layer.o_proj(out.view({tokens, heads * c.v_head_dim}));
}

at::Tensor mla_forward_cached(const MlaLayer& layer, const at::Tensor& x, const Rotary& rotary,
                              at::Tensor& cache, const at::Tensor& slots,
                              const PagedContext& context) {
  const MlaConfig& c = layer.config;
  const int64_t tokens = x.size(0), heads = layer.num_heads;
  const Queries queries = make_queries(layer, x, rotary);
  const Latent latent = make_latent(layer, x, rotary);
  cache.index_copy_(0, slots, at::cat({latent.compressed, latent.rope.squeeze(1)}, 1));
  // kv_b_proj is [heads, nope + v, kv_lora_rank]: its first rows turn a query into latent space,
  // its last a latent mean into values.
  const at::Tensor kv_b =
      layer.kv_b_proj.matrix().view({heads, c.qk_nope_head_dim + c.v_head_dim, c.kv_lora_rank});
  const at::Tensor q_latent =
      at::bmm(queries.nope.transpose(0, 1), kv_b.narrow(1, 0, c.qk_nope_head_dim)).transpose(0, 1);
  const at::Tensor mean = latent_attention(at::cat({q_latent, queries.rope}, 2), cache, context,
                                           c.kv_lora_rank, layer.softmax_scale);
  const at::Tensor values = at::bmm(
      mean.transpose(0, 1), kv_b.narrow(1, c.qk_nope_head_dim, c.v_head_dim).transpose(1, 2));
  return layer.o_proj(values.transpose(0, 1).reshape({tokens, heads * c.v_head_dim}));
}

}  // namespace ponder::policy
