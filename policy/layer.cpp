#include "policy/layer.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "policy/checkpointing.h"
#include "policy/ops.h"

namespace ponder::policy {
namespace {

at::Tensor attention_forward(const DecoderLayer& layer, const at::Tensor& x,
                             const PackedContext& context) {
  if (const auto* mla = std::get_if<MlaLayer>(&layer.attention))
    return mla_forward(*mla, x, context.rotary, context.segments);
  return gqa_forward(std::get<GqaLayer>(layer.attention), x, context.rotary, context.segments);
}

}  // namespace

DecoderLayer build_layer(ParameterMaker& make, const ModelConfig& config, int64_t index, bool moe) {
  const std::string prefix = fmt::format("model.layers.{}.", index);
  const int64_t hidden = config.hidden_size;
  DecoderLayer layer;
  layer.norm_eps = config.rms_norm_eps;
  if (config.attention == AttentionKind::kMla) {
    layer.attention = build_mla(make, config, prefix + "self_attn.");
  } else {
    layer.attention = build_gqa(make, config, prefix + "self_attn.", index);
  }
  if (moe) {
    layer.mlp = build_moe(make, config, prefix + "mlp.");
  } else {
    layer.mlp = build_mlp(make, prefix + "mlp.", hidden, config.intermediate_size, config.mlp_bias);
  }
  layer.input_layernorm = make.weight(prefix + "input_layernorm.weight", {hidden});
  layer.post_attention_layernorm =
      make.weight(prefix + "post_attention_layernorm.weight", {hidden});
  return layer;
}

LayerOutput layer_forward(const DecoderLayer& layer, const at::Tensor& input,
                          const PackedContext& context) {
  const at::Tensor x =
      input +
      attention_forward(layer, rms_norm(input, layer.input_layernorm, layer.norm_eps), context);
  const at::Tensor normed = rms_norm(x, layer.post_attention_layernorm, layer.norm_eps);
  if (const auto* mlp = std::get_if<Mlp>(&layer.mlp))
    return {.hidden = x + mlp_forward(*mlp, normed), .load = {}, .balance_loss = {}};
  const auto& moe = std::get<MoeLayer>(layer.mlp);
  const Routing routing = route(moe, normed, context.experts);
  LayerOutput out{.hidden = x + moe_forward(moe, normed, routing),
                  .load = expert_load(moe, routing),
                  .balance_loss = {}};
  if (context.balance.any())
    out.balance_loss = balance_loss(moe, routing, context.segments.cu_seqlens, context.balance);
  return out;
}

LayerOutput layer_forward_checkpointed(const DecoderLayer& layer, const at::Tensor& x,
                                       const PackedContext& context) {
  const bool moe = layer.is_moe(), balanced = moe && context.balance.any();
  const auto outputs = checkpointed(
      [&layer, context, moe, balanced](const at::Tensor& input) {
        const LayerOutput output = layer_forward(layer, input, context);
        std::vector<at::Tensor> all = {output.hidden};
        if (moe) all.push_back(output.load);
        if (balanced) all.push_back(output.balance_loss);
        return all;
      },
      x);
  return {.hidden = outputs[0],
          .load = moe ? outputs[1] : at::Tensor(),
          .balance_loss = balanced ? outputs[2] : at::Tensor()};
}

at::Tensor layer_forward_cached(const DecoderLayer& layer, const at::Tensor& input,
                                at::Tensor& cache, const CachedContext& context) {
  const at::NoGradGuard no_grad;
  const at::Tensor first = rms_norm(input, layer.input_layernorm, layer.norm_eps);
  const auto* mla = std::get_if<MlaLayer>(&layer.attention);
  const at::Tensor x =
      input +
      (mla ? mla_forward_cached(*mla, first, context.rotary, cache, context.slots, context.paged)
           : gqa_forward_cached(std::get<GqaLayer>(layer.attention), first, context.rotary, cache,
                                context.slots, context.paged));
  const at::Tensor normed = rms_norm(x, layer.post_attention_layernorm, layer.norm_eps);
  if (const auto* mlp = std::get_if<Mlp>(&layer.mlp)) return x + mlp_forward(*mlp, normed);
  const auto& moe = std::get<MoeLayer>(layer.mlp);
  const Routing routing = route(moe, normed);
  return x + (context.shapes == Shapes::kFixed ? moe_forward_fixed(moe, normed, routing)
                                               : moe_forward(moe, normed, routing));
}

}  // namespace ponder::policy
