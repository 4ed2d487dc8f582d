#include "policy/decode/decoder.h"

#include <algorithm>
#include <functional>
#include <optional>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "core/error.h"
#include "policy/decode/quantize.h"
#include "policy/decode/stages.h"
#include "policy/device/decoder.h"

namespace ponder::policy {

using decode::Pass;
using decode::Span;
using decode::Team;
using kernels::Bf16;

namespace {

template <typename T>
void reserve(Pass<T>& pass, const Model& model, int threads) {
  const ModelConfig& c = model.config();
  const int64_t n = pass.num_rows = pass.rows.size(), hidden = c.hidden_size;
  pass.scratch.resize(threads);
  pass.x.resize(n, hidden);
  pass.normed.resize(n, hidden);
  const int64_t heads = c.num_attention_heads;
  if (c.attention == AttentionKind::kMla) {
    pass.q.resize(n, heads * c.mla.qk_head_dim());
    pass.low.resize(n, c.mla.kv_lora_rank + c.mla.qk_rope_head_dim + c.mla.q_lora_rank);
    pass.latent_q.resize(n, heads * (c.mla.kv_lora_rank + c.mla.qk_rope_head_dim));
    pass.mean.resize(n, heads * c.mla.kv_lora_rank);
    pass.attended.resize(n, heads * c.mla.v_head_dim);
  } else {
    pass.q.resize(n, (heads + 2 * c.gqa.num_key_value_heads) * c.gqa.head_dim);
    pass.attended.resize(n, heads * c.gqa.head_dim);
  }
  const int64_t k = c.moe.num_experts_per_tok;
  pass.activated.resize(std::max(n, n * k),
                        std::max(c.intermediate_size, c.moe.moe_intermediate_size));
  if (c.moe.n_routed_experts > 0) {
    pass.shared_activated.resize(n, c.moe.n_shared_experts * c.moe.moe_intermediate_size);
    pass.expert_out.resize(n * k, hidden);
    pass.gate_scores.reserve(n * c.moe.n_routed_experts);
    pass.chosen.resize(n * k);
    pass.chosen_weights.resize(n * k);
    pass.place.resize(n * k);
    pass.expert_inputs.resize(n * k);
  }
  pass.slots.resize(n);
  for (int64_t r = 0; r < n; ++r) {
    const std::vector<int32_t>& blocks = *pass.rows.block_tables[pass.rows.sequence[r]];
    const int64_t p = pass.rows.positions[r], size = pass.rows.block_size;
    pass.slots[r] = blocks.at(p / size) * size + p % size;
  }
}

template <typename T>
void embed(const Team& team, Pass<T>& pass, const at::Tensor& embedding) {
  const Span own = team.share(pass.num_rows, 1);
  const T* rows = decode::data_of<T>(embedding);
  for (int64_t r = own.begin; r < own.end; ++r)
    std::copy_n(rows + pass.rows.tokens[r] * pass.x.width, pass.x.width, pass.x.row(r));
}

template <typename T>
void run_layer(const Team& team, Pass<T>& pass, const DecoderLayer& layer, at::Tensor& cache) {
  T* layer_cache = static_cast<T*>(cache.data_ptr());
  Team::wait();
  decode::norm_rows(team, pass, layer.input_layernorm, layer.norm_eps);
  std::visit([&](const auto& kind) { decode::attention_stage(team, pass, kind, layer_cache); },
             layer.attention);
  Team::wait();
  decode::norm_rows(team, pass, layer.post_attention_layernorm, layer.norm_eps);
  std::visit([&](const auto& kind) { decode::mlp_stage(team, pass, kind); }, layer.mlp);
}

// Leaves the wanted rows alone in the pass. One thread's.
template <typename T>
void keep_wanted(Pass<T>& pass, int64_t half) {
  CachedRows& rows = pass.rows;
  pass.wanted_cos.clear();
  pass.wanted_sin.clear();
  const auto count = static_cast<int64_t>(rows.wanted.size());
  for (int64_t i = 0; i < count; ++i) {
    const int64_t r = rows.wanted[i];
    std::copy_n(pass.x.row(r), pass.x.width, pass.x.row(i));
    rows.positions[i] = rows.positions[r];
    rows.sequence[i] = rows.sequence[r];
    pass.slots[i] = pass.slots[r];
    pass.wanted_cos.insert(pass.wanted_cos.end(), pass.cos + r * half, pass.cos + (r + 1) * half);
    pass.wanted_sin.insert(pass.wanted_sin.end(), pass.sin + r * half, pass.sin + (r + 1) * half);
    rows.wanted[i] = static_cast<int32_t>(i);
  }
  pass.cos = pass.wanted_cos.data();
  pass.sin = pass.wanted_sin.data();
  pass.num_rows = count;
}

// The last layer, of whose rows only the wanted ones matter but for what they leave in the cache.
template <typename T>
void run_last_layer(const Team& team, Pass<T>& pass, const DecoderLayer& layer, at::Tensor& cache,
                    int64_t rotary_half) {
  const std::vector<int32_t>& wanted = pass.rows.wanted;
  const bool in_order =
      std::adjacent_find(wanted.begin(), wanted.end(), std::greater_equal<>()) == wanted.end();
  if (in_order && static_cast<int64_t>(wanted.size()) < pass.num_rows && pass.record == nullptr) {
    Team::wait();
    decode::norm_rows(team, pass, layer.input_layernorm, layer.norm_eps);
    T* layer_cache = static_cast<T*>(cache.data_ptr());
    std::visit([&](const auto& kind) { decode::cache_stage(team, pass, kind, layer_cache); },
               layer.attention);
    Team::wait();
    if (team.thread == 0) keep_wanted(pass, rotary_half);
    Team::wait();
  }
  run_layer(team, pass, layer, cache);
}

// The layer's input of multi-token prediction: eh_proj of the embedding and the state, both normed.
template <typename T>
void join(const Team& team, Pass<T>& pass, const Model& model, const MtpModule& module,
          const T* state) {
  const int64_t hidden = pass.x.width;
  const T* embedding = decode::data_of<T>(model.embedding());
  const auto eps = static_cast<float>(module.norm_eps);
  const Span own = team.share(pass.num_rows, 1);
  for (int64_t r = own.begin; r < own.end; ++r) {
    T* to = pass.joined.row(r);
    pass.k.rms_norm(embedding + pass.rows.tokens[r] * hidden, decode::data_of<T>(module.enorm), to,
                    hidden, eps);
    pass.k.rms_norm(state + r * hidden, decode::data_of<T>(module.hnorm), to + hidden, hidden, eps);
  }
  Team::wait();
  decode::project(team, pass, module.eh_proj, pass.joined.pointers.data(), pass.num_rows, pass.x,
                  0);
}

// Makes the pass ready for `rows` and runs body(team) on all threads; what the mixtures choose goes
// to `experts`, where given.
template <typename T, typename Body>
void run_rows(Pass<T>& pass, const CachedRows& rows, const Model& model,
              std::vector<int16_t>* experts, const Body& body) {
  const int threads = at::get_num_threads();
  pass.rows = rows;
  const int64_t width = model.routing_width();
  pass.num_mixtures = width == 0 ? 0 : width / model.config().moe.num_experts_per_tok;
  pass.mixture = 0;
  pass.record = experts;
  if (experts != nullptr) experts->resize(rows.size() * width);
  reserve(pass, model, threads);
  const Rotary rotary = model.rotary(at::tensor(rows.positions, at::kInt).to(at::kLong));
  pass.cos = rotary.cos.const_data_ptr<float>();
  pass.sin = rotary.sin.const_data_ptr<float>();
  decode::run_team(threads, body);
}

// The wanted rows of x, normed.
template <typename T>
at::Tensor wanted_rows(const Pass<T>& pass, const at::Tensor& norm, double eps) {
  const auto wanted = static_cast<int64_t>(pass.rows.wanted.size());
  at::Tensor out = at::empty({wanted, pass.x.width}, norm.scalar_type());
  T* data = static_cast<T*>(out.data_ptr());
  for (int64_t i = 0; i < wanted; ++i) {
    pass.k.rms_norm(pass.x.row(pass.rows.wanted[i]), decode::data_of<T>(norm),
                    data + i * pass.x.width, pass.x.width, static_cast<float>(eps));
  }
  return out;
}

template <typename T>
at::Tensor run(Pass<T>& pass, const CachedRows& rows, const Model& model, KvCache& cache,
               std::vector<int16_t>* experts) {
  const int64_t half = model.config().rotary_dim() / 2;
  run_rows(pass, rows, model, experts, [&](const Team& team) {
    embed(team, pass, model.embedding());
    const auto& layers = model.layers();
    const size_t last = layers.size() - 1;
    for (size_t i = 0; i < last; ++i) run_layer(team, pass, layers[i], cache.layers[i]);
    run_last_layer(team, pass, layers[last], cache.layers[last], half);
  });
  return wanted_rows(pass, model.final_norm(), model.config().rms_norm_eps);
}

template <typename T>
at::Tensor run_mtp(Pass<T>& pass, const CachedRows& rows, const Model& model, int64_t depth,
                   const at::Tensor& state, KvCache& cache) {
  const MtpModule& module = model.mtp().at(depth);
  at::Tensor& layer_cache = cache.layers.at(model.config().num_hidden_layers + depth);
  const at::Tensor states = state.contiguous();
  PONDER_CHECK(states.size(0) == rows.size() && states.scalar_type() == model.dtype(),
               "[Decoder] {} states of {} for {} rows", states.size(0),
               at::toString(states.scalar_type()), rows.size());
  pass.joined.resize(rows.size(), 2 * model.config().hidden_size);
  run_rows(pass, rows, model, nullptr, [&](const Team& team) {
    join(team, pass, model, module, decode::data_of<T>(states));
    run_layer(team, pass, module.layer, layer_cache);
  });
  return wanted_rows(pass, module.head_norm, model.config().rms_norm_eps);
}

template <typename T>
at::Tensor run_logits(Pass<T>& pass, const at::Tensor& hidden, const at::Tensor& weight,
                      at::Tensor& kept) {
  const int64_t rows = hidden.size(0), depth = hidden.size(1), vocabulary = weight.size(0);
  const at::Tensor x = hidden.contiguous();
  std::vector<const T*> inputs(rows);
  for (int64_t r = 0; r < rows; ++r) inputs[r] = decode::data_of<T>(x) + r * depth;
  if (!kept.defined() || kept.size(0) < rows) kept = at::empty({rows, vocabulary}, at::kFloat);
  const at::Tensor out = kept.narrow(0, 0, rows);
  float* y = out.data_ptr<float>();
  const int threads = at::get_num_threads();
  pass.scratch.resize(std::max<size_t>(pass.scratch.size(), threads));
  decode::run_team(threads, [&](const Team& team) {
    const Span share = team.share(vocabulary, decode::kPanelColumns);
    const auto operand = decode::make_operand(team, pass, inputs.data(), rows, depth);
    decode::multiply(pass, operand, decode::data_of<T>(weight), share.begin,
                     share.end - share.begin, y + share.begin, vocabulary);
  });
  return out;
}

}  // namespace

// The buffers of the model's dtype, kept from pass to pass.
struct Decoder::Impl {
  const Model& model;
  Pass<float> f32{kernels::best().f32};
  Pass<Bf16> bf16{kernels::best().bf16};
  decode::Int8Weights int8 = {};
  at::Tensor logits = {};  // megabytes, which the system would have to clear for each pass anew
  std::optional<device::Decoder> on_device = {};  // where the model is not on the CPU
  bool is_bf16() const { return model.dtype() == at::kBFloat16; }
};

Decoder::Decoder(const Model& model, bool int8) : impl_(std::make_unique<Impl>(Impl{model})) {
  PONDER_CHECK(model.dtype() == at::kFloat || model.dtype() == at::kBFloat16,
               "[Decoder] expected float32 or bfloat16, got {}", at::toString(model.dtype()));
  if (!model.device().is_cpu()) {
    if (int8) core::throw_user("sampling in 8 bits is the CPU's: leave int8 out on a GPU");
    impl_->on_device.emplace(model);
  }
  if (!int8) return;
  impl_->int8 = decode::quantize(model);
  impl_->f32.int8 = impl_->bf16.int8 = &impl_->int8;
}

Decoder::~Decoder() = default;

at::Tensor Decoder::forward(const CachedRows& rows, KvCache& cache, std::vector<int16_t>* experts) {
  PONDER_CHECK(cache.block_size == rows.block_size,
               "[Decoder] rows of blocks of {}, a cache of blocks of {}", rows.block_size,
               cache.block_size);
  if (impl_->on_device) {
    if (experts != nullptr)
      core::throw_user("keep_routing is the CPU's alone: leave it out on a GPU");
    return impl_->on_device->forward(rows, cache);
  }
  return impl_->is_bf16() ? run(impl_->bf16, rows, impl_->model, cache, experts)
                          : run(impl_->f32, rows, impl_->model, cache, experts);
}

at::Tensor Decoder::forward_mtp(int64_t module, const CachedRows& rows, const at::Tensor& state,
                                KvCache& cache) {
  if (impl_->on_device) {
    core::throw_user(
        "speculation by multi-token prediction is the CPU's alone: take prompt lookup on a GPU");
  }
  return impl_->is_bf16() ? run_mtp(impl_->bf16, rows, impl_->model, module, state, cache)
                          : run_mtp(impl_->f32, rows, impl_->model, module, state, cache);
}

at::Tensor Decoder::logits(const at::Tensor& hidden) {
  if (impl_->on_device) return impl_->on_device->logits(hidden);
  const at::Tensor& weight = impl_->model.lm_head().matrix();
  return impl_->is_bf16() ? run_logits(impl_->bf16, hidden, weight, impl_->logits)
                          : run_logits(impl_->f32, hidden, weight, impl_->logits);
}

}  // namespace ponder::policy
