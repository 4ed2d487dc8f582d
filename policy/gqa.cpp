#include "policy/gqa.h"

#include <cmath>

#include <ATen/ATen.h>

#include "policy/attention.h"
#include "policy/ops.h"

namespace ponder::policy {
namespace {

double softmax_scale(const GqaLayer& layer) {
  return 1.0 / std::sqrt(static_cast<double>(layer.config.head_dim));
}

// x projected, cut into heads [tokens, heads, head_dim], normed where there is a norm, rotated.
at::Tensor rotated_heads(const GqaLayer& layer, const Linear& proj, const at::Tensor& norm,
                         const at::Tensor& x, const Rotary& rotary) {
  at::Tensor heads = proj(x).view({x.size(0), -1, layer.config.head_dim});
  if (norm.defined()) heads = rms_norm(heads, norm, layer.norm_eps);
  return rotate(heads, rotary.cos, rotary.sin, /*interleave=*/false);
}

}  // namespace

GqaLayer build_gqa(ParameterMaker& make, const ModelConfig& config, const std::string& prefix,
                   int64_t layer) {
  const GqaConfig& c = config.gqa;
  const int64_t hidden = config.hidden_size, q = config.num_attention_heads * c.head_dim,
                kv = c.num_key_value_heads * c.head_dim;
  GqaLayer out;
  out.config = c;
  out.num_heads = config.num_attention_heads;
  out.norm_eps = config.rms_norm_eps;
  out.window = config.sliding_window(layer);
  out.q_proj = make.linear(prefix + "q_proj", q, hidden, c.qkv_bias);
  out.k_proj = make.linear(prefix + "k_proj", kv, hidden, c.qkv_bias);
  out.v_proj = make.linear(prefix + "v_proj", kv, hidden, c.qkv_bias);
  out.o_proj = make.linear(prefix + "o_proj", hidden, q, c.output_bias);
  if (c.qk_norm) {
    out.q_norm = make.weight(prefix + "q_norm.weight", {c.head_dim});
    out.k_norm = make.weight(prefix + "k_norm.weight", {c.head_dim});
  }
  return out;
}

int64_t gqa_cache_width(const GqaConfig& config) {
  return 2 * config.num_key_value_heads * config.head_dim;
}

at::Tensor gqa_forward(const GqaLayer& layer, const at::Tensor& x, const Rotary& rotary,
                       const Segments& segments) {
  const at::Tensor q = rotated_heads(layer, layer.q_proj, layer.q_norm, x, rotary);
  const at::Tensor k = rotated_heads(layer, layer.k_proj, layer.k_norm, x, rotary);
  const at::Tensor v = layer.v_proj(x).view({x.size(0), -1, layer.config.head_dim});
  const at::Tensor out = packed_attention(q, k, v, segments, softmax_scale(layer), layer.window);
  return layer.o_proj(out.view({x.size(0), -1}));
}

at::Tensor gqa_forward_cached(const GqaLayer& layer, const at::Tensor& x, const Rotary& rotary,
                              at::Tensor& cache, const at::Tensor& slots,
                              const PagedContext& context) {
  const int64_t tokens = x.size(0);
  const at::Tensor q = rotated_heads(layer, layer.q_proj, layer.q_norm, x, rotary);
  const at::Tensor k = rotated_heads(layer, layer.k_proj, layer.k_norm, x, rotary);
  cache.index_copy_(0, slots, at::cat({k.view({tokens, -1}), layer.v_proj(x)}, 1));
  const at::Tensor out = paged_attention(q, cache, context, layer.config.num_key_value_heads,
                                         softmax_scale(layer), layer.window);
  return layer.o_proj(out.view({tokens, -1}));
}

}  // namespace ponder::policy
