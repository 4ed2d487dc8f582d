// The policy's network: embedding, decoder layers, final norm, output weight; the same weights
// train and sample. Knows token ids and positions; knows no text, no rewards and no loss.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "policy/attention.h"
#include "policy/config.h"
#include "policy/mla.h"
#include "policy/moe.h"

namespace ponder::policy {

// One tensor of the model under its Hugging Face name.
struct Parameter {
  std::string name;
  at::Tensor tensor;
  bool trainable = true;  // false: a buffer such as e_score_correction_bias
};

// Sequences laid end to end, no padding.
struct PackedInput {
  at::Tensor token_ids;             // int64 [tokens]
  at::Tensor positions;             // int64 [tokens], from 0 in each sequence
  std::vector<int32_t> cu_seqlens;  // [sequences + 1]
};

// Tokens whose past is in a KvCache; any mix of prompts and single next tokens.
struct CachedInput {
  at::Tensor token_ids;  // int64 [tokens]
  at::Tensor positions;  // int64 [tokens]
  at::Tensor slots;      // int64 [tokens]: where each token's own latent goes
  PagedContext context;  // what each token attends to
};

// The paged cache of one engine: a tensor a layer, [blocks * block_size, width].
struct KvCache {
  std::vector<at::Tensor> layers;
  int64_t block_size = 16;
};

class Model {
 public:
  // Weights of a Hugging Face folder in float32. Throws UserError naming file and tensor: missing,
  // of a wrong shape, not finite, or more than the architecture has.
  static Model load(const std::filesystem::path& dir);

  // Fresh weights: normal with standard deviation fan_in^-0.5, norms 1, biases 0; a function of
  // seed and config alone.
  static Model random(const ModelConfig& config, uint64_t seed);

  Model(Model&&) = default;
  Model& operator=(Model&&) = default;

  const ModelConfig& config() const { return config_; }

  // Hidden states after the final norm, [tokens, hidden], with graph unless gradients are off.
  // `loads`: undefined, or int64 [moe_layers, experts], to which each MoE layer adds the tokens its
  // experts got.
  at::Tensor forward(const PackedInput& input, const at::Tensor& loads = {}) const;

  // The same from and into the cache; no graph.
  at::Tensor forward_cached(const CachedInput& input, KvCache& cache) const;

  // [vocabulary, hidden]: logits are hidden states times its transpose.
  const at::Tensor& output_weight() const { return output_weight_; }

  // Every tensor in the checkpoint's order. The tensors are the model's own: changing them in place
  // changes it.
  const std::vector<Parameter>& parameters() const { return parameters_; }

  // A frozen copy: same values, no gradients (the reference policy).
  Model frozen_copy() const;

  // Number of features that the cache holds per token and layer.
  int64_t cache_width() const;
  KvCache make_cache(int64_t num_blocks, int64_t block_size) const;

  int64_t num_moe_layers() const;
  // Applies the balance rule to every MoE layer; loads as forward() counts them.
  void update_balance_biases(const at::Tensor& loads, double gamma);

 private:
  struct Layer {
    at::Tensor input_layernorm, post_attention_layernorm;
    MlaLayer attention;
    Mlp dense;     // where is_moe is false
    MoeLayer moe;  // where it is true
    bool is_moe = false;
  };

  explicit Model(const ModelConfig& config);
  void build();
  Layer build_layer(int64_t index);
  MlaLayer build_attention(const std::string& prefix);
  Mlp build_mlp(const std::string& prefix, int64_t intermediate);
  MoeLayer build_moe(const std::string& prefix);
  at::Tensor add(const std::string& name, at::IntArrayRef shape, bool trainable = true);

  ModelConfig config_;
  std::vector<Parameter> parameters_;
  at::Tensor embedding_, final_norm_, output_weight_;
  std::vector<Layer> layers_;
};

// Number of values in all parameters, buffers included.
int64_t parameter_count(const Model& model);

}  // namespace ponder::policy
