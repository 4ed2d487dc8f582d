#include "policy/gguf_weights.h"

#include <charconv>
#include <functional>
#include <optional>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/ranges.h>

#include "core/error.h"

namespace ponder::policy {
namespace {

using Json = nlohmann::json;

struct NamePair {
  std::string_view gguf, hf;
};

constexpr NamePair kOutside[] = {{"token_embd.weight", "model.embed_tokens.weight"},
                                 {"output_norm.weight", "model.norm.weight"},
                                 {"output.weight", "lm_head.weight"}};

// After "blk.N." and "model.layers.N.".
constexpr NamePair kInLayer[] = {
    {"attn_norm", "input_layernorm"},
    {"ffn_norm", "post_attention_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"attn_q_a", "self_attn.q_a_proj"},
    {"attn_q_a_norm", "self_attn.q_a_layernorm"},
    {"attn_q_b", "self_attn.q_b_proj"},
    {"attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa"},
    {"attn_kv_a_norm", "self_attn.kv_a_layernorm"},
    {"attn_kv_b", "self_attn.kv_b_proj"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
    {"ffn_gate_inp", "mlp.gate"},
    {"exp_probs_b", "mlp.gate.e_score_correction_bias"},
    {"ffn_gate_shexp", "mlp.shared_experts.gate_proj"},
    {"ffn_up_shexp", "mlp.shared_experts.up_proj"},
    {"ffn_down_shexp", "mlp.shared_experts.down_proj"},
};

// All experts of a layer in one tensor [experts, out, in].
constexpr NamePair kExperts[] = {
    {"ffn_gate_exps", "gate_proj"}, {"ffn_up_exps", "up_proj"}, {"ffn_down_exps", "down_proj"}};

std::optional<std::string_view> lookup(std::span<const NamePair> table, std::string_view name) {
  for (const NamePair& entry : table) {
    if (entry.gguf == name) return entry.hf;
  }
  return std::nullopt;
}

// "blk.12.attn_q.weight" in its parts.
struct LayerName {
  int64_t layer = 0;
  std::string_view stem, kind;
};

std::optional<LayerName> split_name(std::string_view name) {
  if (!name.starts_with("blk.")) return std::nullopt;
  name.remove_prefix(4);
  LayerName out;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), out.layer);
  if (error != std::errc() || end == name.data() + name.size() || *end != '.') return std::nullopt;
  name.remove_prefix(end - name.data() + 1);
  const size_t dot = name.find('.');
  if (dot == std::string_view::npos) return std::nullopt;
  out.stem = name.substr(0, dot);
  out.kind = name.substr(dot + 1);
  return out;
}

// The values in float32. `file` keeps the tensor's bytes mapped.
at::Tensor decode(const GgufFile& file, const GgufTensor& tensor) {
  at::Tensor out = at::empty(tensor.shape, at::kFloat);
  const GgmlBlock block = ggml_block(tensor.type);
  const int64_t row_values = tensor.shape.back(), rows = tensor.numel() / row_values;
  const int64_t row_bytes = row_values / block.values * block.bytes;
  float* data = out.data_ptr<float>();
  at::parallel_for(0, rows, 64, [&](int64_t begin, int64_t end) {
    dequantize_ggml(tensor.type, tensor.data.subspan(begin * row_bytes, (end - begin) * row_bytes),
                    {data + begin * row_values, static_cast<size_t>((end - begin) * row_values)});
  });
  if (!out.isfinite().all().item<bool>()) {
    core::throw_user("{}: tensor '{}' holds values that are not finite: the file is damaged",
                     file.content().where(), tensor.name);
  }
  return out;
}

// Turns the tensors of one file into sources.
class Converter {
 public:
  Converter(const GgufFile& file, const Json& config, at::ScalarType dtype)
      : file_(file), config_(config), dtype_(dtype) {}

  std::vector<TensorSource> run() {
    for (const GgufTensor& tensor : file_.content().tensors()) convert(tensor);
    return std::move(sources_);
  }

 private:
  using Rearrange = std::function<at::Tensor(at::Tensor)>;

  std::string where(const GgufTensor& tensor) const {
    return fmt::format("{}: tensor '{}'", file_.content().where(), tensor.name);
  }

  [[noreturn]] void unexpected(const GgufTensor& tensor) const {
    core::throw_user("{} belongs to no part of a {} that ponder knows", where(tensor),
                     config_["model_type"].get<std::string>());
  }

  void convert(const GgufTensor& tensor) {
    if (tensor.name == "rope_freqs.weight") return;  // said by config.json
    if (const auto name = lookup(kOutside, tensor.name)) return add(tensor, std::string(*name));
    const auto parts = split_name(tensor.name);
    if (!parts || parts->layer >= config_["num_hidden_layers"]) unexpected(tensor);
    const std::string layer = fmt::format("model.layers.{}.", parts->layer);
    if (parts->stem == "attn_v_b") return;  // goes with attn_k_b
    if (parts->stem == "attn_k_b") return add_key_value(tensor, layer);
    if (const auto name = lookup(kExperts, parts->stem)) return add_experts(tensor, layer, *name);
    const auto name = lookup(kInLayer, parts->stem);
    if (!name || (parts->kind != "weight" && parts->kind != "bias")) unexpected(tensor);
    const bool whole_name = parts->stem == "exp_probs_b";
    add(tensor, layer + std::string(*name) + (whole_name ? "" : "." + std::string(parts->kind)),
        rotary_order(tensor, parts->stem), whole_name ? at::kFloat : dtype_);
  }

  // llama.cpp wants the two halves of each head's rotary pairs as neighbours and reorders the rows
  // of Llama's queries and keys; this is the way back.
  Rearrange rotary_order(const GgufTensor& tensor, std::string_view stem) const {
    if (config_["model_type"] != "llama" || (stem != "attn_q" && stem != "attn_k")) return {};
    const int64_t heads = config_[stem == "attn_q" ? "num_attention_heads" : "num_key_value_heads"];
    if (heads == 0 || tensor.shape[0] % (2 * heads) != 0) {
      core::throw_user("{}: {} rows do not divide into {} heads of pairs", where(tensor),
                       tensor.shape[0], heads);
    }
    return [heads](const at::Tensor& rows) {
      return rows.reshape({heads, rows.size(0) / heads / 2, 2, -1})
          .transpose(1, 2)
          .reshape(rows.sizes());
    };
  }

  void add(const GgufTensor& tensor, std::string name, Rearrange rearrange = {},
           std::optional<at::ScalarType> dtype = {}) {
    const at::ScalarType out = dtype.value_or(dtype_);
    sources_.push_back(
        {std::move(name), out, tensor.shape, [file = file_, &tensor, rearrange, out] {
           const at::Tensor values = decode(file, tensor);
           return (rearrange ? rearrange(values) : values).to(out);
         }});
  }

  void add_experts(const GgufTensor& tensor, const std::string& layer, std::string_view name) {
    const int64_t experts = config_.value("n_routed_experts", int64_t{0});
    if (tensor.shape.size() != 3 || tensor.shape[0] != experts) {
      core::throw_user("{}: shape [{}], expected {} experts' matrices", where(tensor),
                       fmt::join(tensor.shape, ", "), experts);
    }
    const size_t bytes = tensor.data.size() / experts;
    for (int64_t e = 0; e < experts; ++e) {
      GgufTensor one = tensor;
      one.shape.erase(one.shape.begin());
      one.data = tensor.data.subspan(e * bytes, bytes);
      sources_.push_back(
          {fmt::format("{}mlp.experts.{}.{}.weight", layer, e, name), dtype_, one.shape,
           [file = file_, one, dtype = dtype_] { return decode(file, one).to(dtype); }});
    }
  }

  // kv_b_proj in two parts: keys [heads, latent, nope] (transposed) and values [heads, v, latent].
  void add_key_value(const GgufTensor& keys, const std::string& layer) {
    std::string partner = keys.name;
    partner.replace(partner.find("attn_k_b"), 8, "attn_v_b");
    const GgufTensor* values = file_.content().find_tensor(partner);
    if (values == nullptr) core::throw_user("{}: '{}' is missing", where(keys), partner);
    const int64_t heads = config_["num_attention_heads"], latent = config_["kv_lora_rank"];
    const int64_t nope = config_["qk_nope_head_dim"], wide = config_["v_head_dim"];
    if (keys.shape != std::vector<int64_t>{heads, latent, nope} ||
        values->shape != std::vector<int64_t>{heads, wide, latent}) {
      core::throw_user(
          "{}: shapes [{}] and [{}] of keys and values, expected [{}, {}, {}] and [{}, {}, {}]",
          where(keys), fmt::join(keys.shape, ", "), fmt::join(values->shape, ", "), heads, latent,
          nope, heads, wide, latent);
    }
    sources_.push_back(
        {layer + "self_attn.kv_b_proj.weight",
         dtype_,
         {heads * (nope + wide), latent},
         [file = file_, &keys, values, rows = heads * (nope + wide), latent, dtype = dtype_] {
           const at::Tensor k = decode(file, keys).transpose(1, 2), v = decode(file, *values);
           return at::cat({k, v}, 1).reshape({rows, latent}).to(dtype);
         }});
  }

  GgufFile file_;
  Json config_;
  at::ScalarType dtype_;
  std::vector<TensorSource> sources_;
};

}  // namespace

std::vector<TensorSource> gguf_weights(const GgufFile& file, const Json& config,
                                       at::ScalarType dtype) {
  return Converter(file, config, dtype).run();
}

}  // namespace ponder::policy
