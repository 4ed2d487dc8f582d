// The policy's network: embedding, decoder layers, final norm, output weight; the same weights
// train and sample. Knows token ids and positions; knows no text, no rewards and no loss.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "policy/config.h"
#include "policy/layer.h"
#include "policy/mtp.h"

namespace ponder::policy {

// Sequences laid end to end, no padding. Where segments have parents (attention.h), a segment's
// positions go on from its parent's. On the CPU, whatever the model's device: a pass moves them.
struct PackedInput {
  at::Tensor token_ids;               // int64 [tokens]
  at::Tensor positions;               // int64 [tokens], from 0 in each sequence
  std::vector<int32_t> cu_seqlens;    // [segments + 1]
  std::vector<int32_t> parents = {};  // [segments], or empty: every segment is a sequence
  // Where defined: the experts to be replayed (moe.h's route), int16 [tokens, mixtures x experts a
  // token], mixtures in the layers' order.
  at::Tensor experts = {};
};

// Tokens whose past is in a KvCache; any mix of prompts and single next tokens.
struct CachedInput {
  at::Tensor token_ids;  // int64 [tokens]
  at::Tensor positions;  // int64 [tokens]
  at::Tensor slots;      // int64 [tokens]: where each token's own features go
  PagedContext context;  // what each token attends to
};

// The paged cache of one engine: a tensor a layer, [blocks * block_size, width], in the model's
// dtype; then one a multi-token-prediction module where asked for.
struct KvCache {
  std::vector<at::Tensor> layers;
  int64_t block_size = 16;
};

// What a pass over the mixtures leaves beside the hidden states; handed in by who wants it, and on
// the CPU whatever the model's device.
struct MoeRecord {
  at::Tensor loads = {};  // where defined: int64 [num_moe_layers, experts], tokens are added to it
  BalanceWeights balance = {};  // of the auxiliary losses
  at::Tensor balance_loss =
      {};  // where asked for: scalar with graph, the sum over mixtures is added
};

class Model {
 public:
  // Weights of a Hugging Face folder in `dtype` (float32 or bfloat16; activations follow it, sums
  // of norms, softmax and log-probs are float32). Modules for multi-token prediction are made where
  // the weights hold them. Throws UserError naming file and tensor: missing, of a wrong shape, not
  // finite, or more than the architecture has.
  static Model load(const std::filesystem::path& dir, at::ScalarType dtype = at::kFloat,
                    at::Device device = at::kCPU);

  // Fresh weights: normal with standard deviation fan_in^-0.5, norms 1, biases 0; a function of
  // seed and config alone.
  static Model random(const ModelConfig& config, uint64_t seed, at::ScalarType dtype = at::kFloat,
                      at::Device device = at::kCPU);

  // Names and shapes alone, on the meta device: no memory whatever the size.
  static Model meta(const ModelConfig& config);

  Model(Model&&) = default;
  Model& operator=(Model&&) = default;

  const ModelConfig& config() const { return config_; }
  at::ScalarType dtype() const { return embedding_.scalar_type(); }
  // Where the weights are and the work is done: inputs are to be there too.
  at::Device device() const { return embedding_.device(); }

  // Activation checkpointing of every layer: forward() keeps its input alone and runs it again in
  // backward; the same bits, less memory, a third more work. REQUIRES: the model outlives backward.
  void set_gradient_checkpointing(bool on) { gradient_checkpointing_ = on; }

  // Hidden states after the final norm, [tokens, hidden], with graph unless gradients are off.
  at::Tensor forward(const PackedInput& input, MoeRecord* record = nullptr) const;

  // The same from and into the cache; no graph.
  at::Tensor forward_cached(const CachedInput& input, KvCache& cache,
                            Shapes shapes = Shapes::kFree) const;

  // What sampling's own forward pass (policy/decode) reads.
  const at::Tensor& embedding() const { return embedding_; }    // [vocabulary, hidden]
  const at::Tensor& final_norm() const { return final_norm_; }  // [hidden]
  const std::vector<DecoderLayer>& layers() const { return layers_; }
  // Cosines and sines for positions, int64 [tokens].
  Rotary rotary(const at::Tensor& positions) const;

  // [vocabulary, hidden]: logits are hidden states times its transpose. With an adapter the sum, with
  // graph where gradients are on.
  at::Tensor output_weight() const;
  // The map that it is the matrix of. Null to change where the embedding serves as its weight.
  const Linear& lm_head() const { return lm_head_; }
  Linear* own_lm_head() { return config_.tie_word_embeddings ? nullptr : &lm_head_; }

  // Modules for multi-token prediction, depths 0 to num_mtp() - 1 (policy/mtp.h).
  int64_t num_mtp() const { return static_cast<int64_t>(mtp_.size()); }
  const std::vector<MtpModule>& mtp() const { return mtp_; }

  // Row r goes on from the state of a sequence's position i: `state` [tokens, hidden] is
  // forward()'s there for depth 0, this function's of depth - 1 for others; input.token_ids holds
  // token i + depth + 1, input.positions i. Returns [tokens, hidden] that predict (by
  // output_weight) token i + depth + 2. A sequence of n tokens has n - depth - 1 rows.
  at::Tensor mtp_forward(int64_t depth, const PackedInput& input, const at::Tensor& state,
                         MoeRecord* record = nullptr) const;

  // The same from and into the cache's layer num_hidden_layers + depth; no graph. Slots and context
  // are those of position i, as in forward_cached(): only token_ids differ.
  at::Tensor mtp_forward_cached(int64_t depth, const CachedInput& input, const at::Tensor& state,
                                KvCache& cache) const;

  // Every tensor in the checkpoint's order. The tensors are the model's own: changing them in place
  // changes it.
  const std::vector<Parameter>& parameters() const { return parameters_; }

  // Tensors that a checkpoint holds under a second name: those that the published DeepSeek-V3 keeps
  // of embedding and output weight in its module for multi-token prediction.
  std::vector<Parameter> shared_parameters() const;

  // Low-rank adapters beside linears (lora.h); none: the weights themselves are trained.
  const std::vector<std::shared_ptr<Adapter>>& adapters() const { return adapters_; }
  void add_adapter(std::shared_ptr<Adapter> adapter) { adapters_.push_back(std::move(adapter)); }

  // The values with which the model samples and is saved, in parameters()' order: merged with
  // adapters where there are some.
  std::vector<Parameter> merged_parameters() const;

  // Calls visit(linear) for every linear of every layer.
  void for_each_linear(const std::function<void(Linear&)>& visit);

  // A frozen copy: same values, adapters merged, no gradients (the reference policy).
  Model frozen_copy() const;

  // Number of features that the cache holds per token and layer, and their bytes over all layers.
  int64_t cache_width() const;
  int64_t cache_bytes_per_token(bool with_mtp = false) const;
  // On a device it has one block more, where rows that nobody reads are written.
  KvCache make_cache(int64_t num_blocks, int64_t block_size, bool with_mtp = false) const;

  // Mixtures, those in modules for multi-token prediction (the last) included.
  int64_t num_moe_layers() const;
  // Numbers that say where one token goes: mixtures of forward() x experts a token.
  int64_t routing_width() const;
  // Applies the balance rule to every MoE layer; loads as forward() counts them.
  void update_balance_biases(const at::Tensor& loads, double gamma);

 private:
  // Tensors without values.
  Model(const ModelConfig& config, at::ScalarType dtype, at::Device device);
  friend Model load_body(const std::filesystem::path&, const std::string&,
                         at::ScalarType);  // body.h
  LayerOutput run_layer(const DecoderLayer& layer, const at::Tensor& x,
                        const PackedContext& context) const;

  ModelConfig config_;
  std::vector<float> frequencies_;  // rotary, [rotary_dim / 2]
  at::Tensor device_frequencies_;   // the same on the model's device; undefined on the CPU
  std::vector<Parameter> parameters_;
  at::Tensor embedding_, final_norm_;
  Linear lm_head_;
  std::vector<DecoderLayer> layers_;
  std::vector<MtpModule> mtp_;
  std::vector<std::shared_ptr<Adapter>> adapters_;
  bool gradient_checkpointing_ = false;
};

// Number of values in all parameters, buffers included; without modules for multi-token prediction
// where not `with_mtp`.
int64_t parameter_count(const Model& model, bool with_mtp = true);

// Of these, how many take part in one token's pass (without multi-token prediction): of the routed
// experts only those that a token goes to.
int64_t active_parameter_count(const Model& model);

}  // namespace ponder::policy
