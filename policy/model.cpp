#include "policy/model.h"

#include <cmath>
#include <set>

#include <ATen/ATen.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/random.h"
#include "core/spelling.h"
#include "policy/ops.h"
#include "policy/safetensors.h"

namespace ponder::policy {
namespace {

using core::throw_user;

// Norms and the balance bias are the only tensors of one dimension.
bool is_norm(const Parameter& p) {
  return p.tensor.dim() == 1 && p.trainable;
}

void fill_random(const Parameter& p, uint64_t seed) {
  if (p.tensor.dim() == 1) {
    p.tensor.fill_(is_norm(p) ? 1.0 : 0.0);
    return;
  }
  core::Rng rng(seed, core::stable_hash("init:" + p.name));
  const double deviation = 1.0 / std::sqrt(static_cast<double>(p.tensor.size(1)));
  float* data = p.tensor.data_ptr<float>();
  for (int64_t i = 0; i < p.tensor.numel(); ++i)
    data[i] = static_cast<float>(deviation * rng.normal());
}

std::string shape_text(at::IntArrayRef shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

// The multi-token-prediction modules stand as layers behind the last; rotary frequencies are
// derived.
bool may_be_ignored(const std::string& name, const ModelConfig& config) {
  if (name.ends_with("rotary_emb.inv_freq")) return true;
  const std::string prefix = "model.layers.";
  if (!name.starts_with(prefix)) return false;
  return std::atoll(name.c_str() + prefix.size()) >= config.num_hidden_layers;
}

void refuse_surplus(const WeightFolder& folder, const std::vector<Parameter>& parameters,
                    const ModelConfig& config) {
  std::set<std::string> known;
  for (const Parameter& p : parameters) known.insert(p.name);
  for (const std::string& name : folder.names()) {
    const bool tied = config.tie_word_embeddings && name == "lm_head.weight";
    if (known.contains(name) || tied || may_be_ignored(name, config)) continue;
    throw_user("{}: unexpected tensor '{}': config.json describes a {} without it",
               folder.path().string(), name, config.model_type);
  }
}

}  // namespace

Model::Model(const ModelConfig& config) : config_(config) {
  build();
}

Model Model::random(const ModelConfig& config, uint64_t seed) {
  Model model(config);
  const at::NoGradGuard no_grad;
  for (const Parameter& p : model.parameters_) fill_random(p, seed);
  return model;
}

Model Model::load(const std::filesystem::path& dir) {
  const ModelConfig config = read_config(dir);
  const WeightFolder folder(dir);
  Model model(config);
  refuse_surplus(folder, model.parameters_, config);
  const at::NoGradGuard no_grad;
  for (const Parameter& p : model.parameters_) {
    const TensorInfo& info = folder.info(p.name);
    if (at::IntArrayRef(info.shape) != p.tensor.sizes()) {
      throw_user("{}: tensor '{}': expected shape {} from config.json, found {}", dir.string(),
                 p.name, shape_text(p.tensor.sizes()), shape_text(info.shape));
    }
    if (!at::isFloatingType(info.dtype)) {
      throw_user("{}: tensor '{}': expected floating point, found {}", dir.string(), p.name,
                 at::toString(info.dtype));
    }
    p.tensor.copy_(folder.tensor(p.name));
    if (!p.tensor.isfinite().all().item<bool>()) {
      throw_user("{}: tensor '{}' holds values that are not finite: the checkpoint is damaged",
                 dir.string(), p.name);
    }
  }
  return model;
}

Model Model::frozen_copy() const {
  Model copy(config_);
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    copy.parameters_[i].tensor.copy_(parameters_[i].tensor);
    copy.parameters_[i].tensor.requires_grad_(false);
  }
  return copy;
}

at::Tensor Model::add(const std::string& name, at::IntArrayRef shape, bool trainable) {
  at::Tensor tensor = at::empty(shape, at::kFloat);
  tensor.requires_grad_(trainable);
  parameters_.push_back({name, tensor, trainable});
  return tensor;
}

void Model::build() {
  embedding_ = add("model.embed_tokens.weight", {config_.vocab_size, config_.hidden_size});
  for (int64_t i = 0; i < config_.num_hidden_layers; ++i) layers_.push_back(build_layer(i));
  final_norm_ = add("model.norm.weight", {config_.hidden_size});
  output_weight_ = config_.tie_word_embeddings
                       ? embedding_
                       : add("lm_head.weight", {config_.vocab_size, config_.hidden_size});
}

Model::Layer Model::build_layer(int64_t index) {
  const std::string prefix = fmt::format("model.layers.{}.", index);
  Layer layer;
  layer.attention = build_attention(prefix + "self_attn.");
  layer.is_moe = index >= config_.first_k_dense_replace;
  if (layer.is_moe) {
    layer.moe = build_moe(prefix + "mlp.");
  } else {
    layer.dense = build_mlp(prefix + "mlp.", config_.intermediate_size);
  }
  layer.input_layernorm = add(prefix + "input_layernorm.weight", {config_.hidden_size});
  layer.post_attention_layernorm =
      add(prefix + "post_attention_layernorm.weight", {config_.hidden_size});
  return layer;
}

MlaLayer Model::build_attention(const std::string& prefix) {
  const MlaConfig& c = config_.mla;
  const int64_t heads = config_.num_attention_heads, hidden = config_.hidden_size;
  MlaLayer layer{.config = c, .num_heads = heads, .rope_interleave = config_.rope_interleave};
  if (c.q_lora_rank == 0) {
    layer.q_proj = add(prefix + "q_proj.weight", {heads * c.qk_head_dim(), hidden});
  } else {
    layer.q_a_proj = add(prefix + "q_a_proj.weight", {c.q_lora_rank, hidden});
    layer.q_a_layernorm = add(prefix + "q_a_layernorm.weight", {c.q_lora_rank});
    layer.q_b_proj = add(prefix + "q_b_proj.weight", {heads * c.qk_head_dim(), c.q_lora_rank});
  }
  layer.kv_a_proj_with_mqa =
      add(prefix + "kv_a_proj_with_mqa.weight", {c.kv_lora_rank + c.qk_rope_head_dim, hidden});
  layer.kv_a_layernorm = add(prefix + "kv_a_layernorm.weight", {c.kv_lora_rank});
  layer.kv_b_proj = add(prefix + "kv_b_proj.weight",
                        {heads * (c.qk_nope_head_dim + c.v_head_dim), c.kv_lora_rank});
  layer.o_proj = add(prefix + "o_proj.weight", {hidden, heads * c.v_head_dim});
  return layer;
}

Mlp Model::build_mlp(const std::string& prefix, int64_t intermediate) {
  Mlp mlp;
  mlp.gate_proj = add(prefix + "gate_proj.weight", {intermediate, config_.hidden_size});
  mlp.up_proj = add(prefix + "up_proj.weight", {intermediate, config_.hidden_size});
  mlp.down_proj = add(prefix + "down_proj.weight", {config_.hidden_size, intermediate});
  return mlp;
}

MoeLayer Model::build_moe(const std::string& prefix) {
  const MoeConfig& c = config_.moe;
  MoeLayer layer{.config = c};
  layer.gate = add(prefix + "gate.weight", {c.n_routed_experts, config_.hidden_size});
  layer.correction_bias =
      add(prefix + "gate.e_score_correction_bias", {c.n_routed_experts}, /*trainable=*/false);
  for (int64_t e = 0; e < c.n_routed_experts; ++e) {
    layer.experts.push_back(
        build_mlp(fmt::format("{}experts.{}.", prefix, e), c.moe_intermediate_size));
  }
  if (c.n_shared_experts > 0) {
    layer.shared =
        build_mlp(prefix + "shared_experts.", c.n_shared_experts * c.moe_intermediate_size);
  }
  return layer;
}

at::Tensor Model::forward(const PackedInput& input, const at::Tensor& loads) const {
  const auto [cos, sin] =
      rotary_tables(input.positions, config_.mla.qk_rope_head_dim, config_.rope_theta);
  at::Tensor x = at::embedding(embedding_, input.token_ids);
  int64_t moe_index = 0;
  for (const Layer& layer : layers_) {
    x = x + mla_forward(layer.attention, rms_norm(x, layer.input_layernorm, config_.rms_norm_eps),
                        {cos, sin}, input.cu_seqlens);
    const at::Tensor normed = rms_norm(x, layer.post_attention_layernorm, config_.rms_norm_eps);
    if (layer.is_moe) {
      const at::Tensor load = loads.defined() ? loads.select(0, moe_index++) : at::Tensor();
      x = x + moe_forward(layer.moe, normed, load);
    } else {
      x = x + mlp_forward(layer.dense, normed);
    }
  }
  return rms_norm(x, final_norm_, config_.rms_norm_eps);
}

at::Tensor Model::forward_cached(const CachedInput& input, KvCache& cache) const {
  const at::NoGradGuard no_grad;
  const auto [cos, sin] =
      rotary_tables(input.positions, config_.mla.qk_rope_head_dim, config_.rope_theta);
  at::Tensor x = at::embedding(embedding_, input.token_ids);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    x.add_(mla_forward_cached(layer.attention,
                              rms_norm(x, layer.input_layernorm, config_.rms_norm_eps), {cos, sin},
                              cache.layers[i], input.slots, input.context));
    const at::Tensor normed = rms_norm(x, layer.post_attention_layernorm, config_.rms_norm_eps);
    x.add_(layer.is_moe ? moe_forward(layer.moe, normed, {}) : mlp_forward(layer.dense, normed));
  }
  return rms_norm(x, final_norm_, config_.rms_norm_eps);
}

int64_t Model::cache_width() const {
  return config_.mla.kv_lora_rank + config_.mla.qk_rope_head_dim;
}

KvCache Model::make_cache(int64_t num_blocks, int64_t block_size) const {
  KvCache cache{.layers = {}, .block_size = block_size};
  for (size_t i = 0; i < layers_.size(); ++i) {
    cache.layers.push_back(at::zeros({num_blocks * block_size, cache_width()}, at::kFloat));
  }
  return cache;
}

int64_t Model::num_moe_layers() const {
  return std::max<int64_t>(0, config_.num_hidden_layers - config_.first_k_dense_replace);
}

void Model::update_balance_biases(const at::Tensor& loads, double gamma) {
  int64_t index = 0;
  for (Layer& layer : layers_) {
    if (layer.is_moe) update_balance_bias_(layer.moe, loads.select(0, index++), gamma);
  }
}

int64_t parameter_count(const Model& model) {
  int64_t count = 0;
  for (const Parameter& p : model.parameters()) count += p.tensor.numel();
  return count;
}

}  // namespace ponder::policy
