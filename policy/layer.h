// One decoder layer: x + attention(norm x), then x + mlp(norm x); attention of either kind, a dense
// MLP or a mixture. A pure function of weights and input, so that it can be run again in backward.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include <ATen/core/Tensor.h>

#include "policy/balance.h"
#include "policy/gqa.h"
#include "policy/mla.h"
#include "policy/moe.h"

namespace ponder::policy {

struct DecoderLayer {
  double norm_eps = 1e-6;
  at::Tensor input_layernorm, post_attention_layernorm;  // [hidden]
  std::variant<GqaLayer, MlaLayer> attention;
  std::variant<Mlp, MoeLayer> mlp;

  bool is_moe() const { return std::holds_alternative<MoeLayer>(mlp); }
};

// The tensors model.layers.INDEX.*; a mixture where `moe`.
DecoderLayer build_layer(ParameterMaker& make, const ModelConfig& config, int64_t index, bool moe);

// What all layers of one pass share; kept by value where a layer is run again in backward.
struct PackedContext {
  Rotary rotary;
  Segments segments;
  BalanceWeights balance = {};
  at::Tensor experts = {};  // int16 [tokens, experts a token]: this layer's, to be replayed (moe.h)
};

struct LayerOutput {
  at::Tensor hidden;        // [tokens, hidden]
  at::Tensor load;          // int64 [experts]: tokens that each expert got; undefined: no mixture
  at::Tensor balance_loss;  // scalar with graph; undefined: no mixture, or not asked for
};

// x [tokens, hidden], sequences laid end to end; differentiable.
LayerOutput layer_forward(const DecoderLayer& layer, const at::Tensor& x,
                          const PackedContext& context);

// The same with the layer's input as all that it keeps for backward, in which it runs again.
// REQUIRES: `layer` outlives backward.
LayerOutput layer_forward_checkpointed(const DecoderLayer& layer, const at::Tensor& x,
                                       const PackedContext& context);

// Whether a pass may take shapes from values: those of a captured CUDA graph may not, and its
// mixtures multiply every row with every expert.
enum class Shapes { kFree, kFixed };

struct CachedContext {
  Rotary rotary;
  const at::Tensor& slots;  // int64 [tokens]: where each token's own features go
  const PagedContext& paged;
  Shapes shapes = Shapes::kFree;
};

// The same for tokens whose past is in this layer's `cache`. No graph.
at::Tensor layer_forward_cached(const DecoderLayer& layer, const at::Tensor& x, at::Tensor& cache,
                                const CachedContext& context);

}  // namespace ponder::policy
