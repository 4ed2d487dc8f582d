#include "policy/model.h"

#include <map>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "core/error.h"
#include "policy/device/ops.h"
#include "policy/ops.h"

namespace ponder::policy {
namespace {

void visit_linears(Mlp& mlp, const std::function<void(Linear&)>& visit) {
  for (Linear* linear : {&mlp.gate_proj, &mlp.up_proj, &mlp.down_proj}) visit(*linear);
}

void visit_linears(DecoderLayer& layer, const std::function<void(Linear&)>& visit) {
  if (auto* mla = std::get_if<MlaLayer>(&layer.attention)) {
    for (Linear* linear : {&mla->q_proj, &mla->q_a_proj, &mla->q_b_proj, &mla->kv_a_proj_with_mqa,
                           &mla->kv_b_proj, &mla->o_proj}) {
      if (linear->defined()) visit(*linear);
    }
  } else {
    auto& gqa = std::get<GqaLayer>(layer.attention);
    for (Linear* linear : {&gqa.q_proj, &gqa.k_proj, &gqa.v_proj, &gqa.o_proj}) visit(*linear);
  }
  if (auto* mlp = std::get_if<Mlp>(&layer.mlp)) return visit_linears(*mlp, visit);
  auto& moe = std::get<MoeLayer>(layer.mlp);
  for (Mlp& expert : moe.experts) visit_linears(expert, visit);
  if (moe.shared.gate_proj.defined()) visit_linears(moe.shared, visit);
}

// Adds what one layer left to the record of the pass; `index` counts mixtures.
void keep(const LayerOutput& output, MoeRecord* record, int64_t index) {
  if (record == nullptr) return;
  if (record->loads.defined()) record->loads[index].add_(output.load.to(record->loads.device()));
  if (!output.balance_loss.defined()) return;
  const at::Tensor loss = output.balance_loss.to(at::kCPU);
  record->balance_loss = record->balance_loss.defined() ? record->balance_loss + loss : loss;
}

}  // namespace

Model::Model(const ModelConfig& config, at::ScalarType dtype, at::Device device)
    : config_(config), frequencies_(rope_frequencies(config.rope, config.rotary_dim())) {
  if (!device.is_cpu() && !device.is_meta()) {
    const std::vector<float>& angles = frequencies_;
    device_frequencies_ = at::tensor(angles, at::kFloat).to(device);
  }
  ParameterMaker make(dtype, device);
  embedding_ = make.weight("model.embed_tokens.weight", {config.vocab_size, config.hidden_size});
  for (int64_t i = 0; i < config.num_hidden_layers; ++i)
    layers_.push_back(build_layer(make, config, i, config.is_moe(i)));
  final_norm_ = make.weight("model.norm.weight", {config.hidden_size});
  lm_head_ = {
      .name = "lm_head",
      .weight = config.tie_word_embeddings
                    ? embedding_
                    : make.weight("lm_head.weight", {config.vocab_size, config.hidden_size})};
  for (int64_t d = 0; d < config.num_nextn_predict_layers; ++d)
    mtp_.push_back(build_mtp(make, config, d));
  parameters_ = make.take();
}

Model Model::meta(const ModelConfig& config) {
  return Model(config, at::kFloat, at::kMeta);
}

Model Model::frozen_copy() const {
  Model copy(config_, dtype(), device());
  const at::NoGradGuard no_grad;
  const std::vector<Parameter> values = merged_parameters();
  for (size_t i = 0; i < parameters_.size(); ++i) {
    copy.parameters_[i].tensor.copy_(values[i].tensor);
    copy.parameters_[i].tensor.requires_grad_(false);
  }
  return copy;
}

Rotary Model::rotary(const at::Tensor& positions) const {
  if (!positions.is_cpu())
    return device::rotary_tables(positions, device_frequencies_, config_.rope.attention_factor);
  return rotary_tables(positions, frequencies_, config_.rope.attention_factor);
}

LayerOutput Model::run_layer(const DecoderLayer& layer, const at::Tensor& x,
                             const PackedContext& context) const {
  return gradient_checkpointing_ ? layer_forward_checkpointed(layer, x, context)
                                 : layer_forward(layer, x, context);
}

at::Tensor Model::forward(const PackedInput& input, MoeRecord* record) const {
  PackedContext context{.rotary = rotary(device::moved(input.positions, device())),
                        .segments = {input.cu_seqlens, input.parents},
                        .balance = record ? record->balance : BalanceWeights{}};
  const at::Tensor experts = device::moved(input.experts, device());
  at::Tensor x = at::embedding(embedding_, device::moved(input.token_ids, device()));
  const int64_t choices = config_.moe.num_experts_per_tok;
  int64_t moe_index = 0;
  for (const DecoderLayer& layer : layers_) {
    if (experts.defined() && layer.is_moe())
      context.experts = experts.narrow(1, moe_index * choices, choices);
    const LayerOutput output = run_layer(layer, x, context);
    x = output.hidden;
    if (layer.is_moe()) keep(output, record, moe_index++);
  }
  return rms_norm(x, final_norm_, config_.rms_norm_eps);
}

at::Tensor Model::forward_cached(const CachedInput& input, KvCache& cache, Shapes shapes) const {
  const at::NoGradGuard no_grad;
  const CachedContext context{.rotary = rotary(input.positions),
                              .slots = input.slots,
                              .paged = input.context,
                              .shapes = shapes};
  at::Tensor x = at::embedding(embedding_, input.token_ids);
  for (size_t i = 0; i < layers_.size(); ++i)
    x = layer_forward_cached(layers_[i], x, cache.layers[i], context);
  return rms_norm(x, final_norm_, config_.rms_norm_eps);
}

at::Tensor Model::mtp_forward(int64_t depth, const PackedInput& input, const at::Tensor& state,
                              MoeRecord* record) const {
  const MtpModule& module = mtp_.at(depth);
  const PackedContext context{.rotary = rotary(device::moved(input.positions, device())),
                              .segments = {input.cu_seqlens, input.parents},
                              .balance = record ? record->balance : BalanceWeights{}};
  const at::Tensor tokens = device::moved(input.token_ids, device());
  const at::Tensor x = mtp_input(module, at::embedding(embedding_, tokens), state);
  const LayerOutput output = run_layer(module.layer, x, context);
  if (module.layer.is_moe()) keep(output, record, num_moe_layers() - num_mtp() + depth);
  return rms_norm(output.hidden, module.head_norm, config_.rms_norm_eps);
}

at::Tensor Model::mtp_forward_cached(int64_t depth, const CachedInput& input,
                                     const at::Tensor& state, KvCache& cache) const {
  const at::NoGradGuard no_grad;
  const MtpModule& module = mtp_.at(depth);
  const CachedContext context{
      .rotary = rotary(input.positions), .slots = input.slots, .paged = input.context};
  const at::Tensor x = mtp_input(module, at::embedding(embedding_, input.token_ids), state);
  at::Tensor& layer_cache = cache.layers.at(config_.num_hidden_layers + depth);
  return rms_norm(layer_forward_cached(module.layer, x, layer_cache, context), module.head_norm,
                  config_.rms_norm_eps);
}

at::Tensor Model::output_weight() const {
  const auto& adapter = lm_head_.adapter;
  if (!adapter || !at::GradMode::is_enabled()) return lm_head_.matrix();
  return at::addmm(lm_head_.weight, adapter->b, adapter->a, /*beta=*/1, adapter->scaling);
}

std::vector<Parameter> Model::merged_parameters() const {
  std::map<std::string, at::Tensor> merged;
  for (const auto& adapter : adapters_) merged[adapter->name + ".weight"] = adapter->merged;
  std::vector<Parameter> out = parameters_;
  for (Parameter& p : out) {
    if (const auto found = merged.find(p.name); found != merged.end()) p.tensor = found->second;
  }
  return out;
}

std::vector<Parameter> Model::shared_parameters() const {
  std::vector<Parameter> out;
  for (int64_t d = 0; d < num_mtp(); ++d) {
    const std::string prefix = fmt::format("model.layers.{}.", config_.num_hidden_layers + d);
    out.push_back({prefix + "embed_tokens.weight", embedding_});
    out.push_back({prefix + "shared_head.head.weight", lm_head_.matrix()});
  }
  return out;
}

void Model::for_each_linear(const std::function<void(Linear&)>& visit) {
  for (DecoderLayer& layer : layers_) visit_linears(layer, visit);
  for (MtpModule& module : mtp_) {
    visit(module.eh_proj);
    visit_linears(module.layer, visit);
  }
}

int64_t Model::cache_width() const {
  return config_.attention == AttentionKind::kMla ? mla_cache_width(config_.mla)
                                                  : gqa_cache_width(config_.gqa);
}

int64_t Model::cache_bytes_per_token(bool with_mtp) const {
  const int64_t layers = config_.num_hidden_layers + (with_mtp ? num_mtp() : 0);
  return layers * cache_width() * static_cast<int64_t>(at::elementSize(dtype()));
}

KvCache Model::make_cache(int64_t num_blocks, int64_t block_size, bool with_mtp) const {
  KvCache cache{.layers = {}, .block_size = block_size};
  const int64_t blocks = num_blocks + (device().is_cpu() ? 0 : 1);
  const auto shape = std::vector<int64_t>{blocks * block_size, cache_width()};
  const auto options = at::TensorOptions(dtype()).device(device());
  // On a device masked products read what was never written, and there it must be numbers.
  const bool clear = !device().is_cpu();
  for (size_t i = 0; i < layers_.size(); ++i)
    cache.layers.push_back(clear ? at::zeros(shape, options) : at::empty(shape, options));
  // Where modules follow a sequence late, its first rows were never written.
  for (size_t i = 0; with_mtp && i < mtp_.size(); ++i)
    cache.layers.push_back(at::zeros(shape, options));
  return cache;
}

int64_t Model::num_moe_layers() const {
  int64_t count = 0;
  for (const DecoderLayer& layer : layers_) count += layer.is_moe() ? 1 : 0;
  for (const MtpModule& module : mtp_) count += module.layer.is_moe() ? 1 : 0;
  return count;
}

int64_t Model::routing_width() const {
  int64_t mixtures = 0;
  for (const DecoderLayer& layer : layers_) mixtures += layer.is_moe() ? 1 : 0;
  return mixtures * config_.moe.num_experts_per_tok;
}

void Model::update_balance_biases(const at::Tensor& loads, double gamma) {
  int64_t index = 0;
  const auto update = [&](DecoderLayer& layer) {
    if (layer.is_moe())
      update_balance_bias_(std::get<MoeLayer>(layer.mlp), loads.select(0, index++), gamma);
  };
  for (DecoderLayer& layer : layers_) update(layer);
  for (MtpModule& module : mtp_) update(module.layer);
}

}  // namespace ponder::policy
