#include "policy/gguf_config.h"

#include <cmath>
#include <cstring>
#include <numbers>

#include "core/error.h"
#include "core/spelling.h"
#include "policy/gguf_tokenizer.h"

namespace ponder::policy {
namespace {

using Json = nlohmann::json;

// Metadata keys stand under the architecture's name.
class Keys {
 public:
  Keys(const GgufContent& file, std::string architecture)
      : file_(file), architecture_(std::move(architecture)) {}

  const GgufContent& file() const { return file_; }
  std::string full(const char* key) const { return architecture_ + "." + key; }
  bool has(const char* key) const { return file_.has(full(key)); }

  int64_t integer(const char* key, std::optional<int64_t> fallback = {}) const {
    const auto value = file_.integer(full(key));
    if (!value && !fallback) return file_.require_integer(full(key));
    const int64_t number = value.value_or(*(fallback ? fallback : value));
    if (number < 0 || number > (int64_t{1} << 30)) {
      core::throw_user("{}: {}: expected 0 to 2^30, found {}", file_.where(), full(key), number);
    }
    return number;
  }

  // Metadata numbers are float32: the shortest decimal of the float is what was meant (1e-6, not
  // 9.99999997e-7).
  double number(const char* key, std::optional<double> fallback = {}) const {
    const auto value = file_.number(full(key));
    if (!value && !fallback)
      core::throw_user("{}: the metadata key {} is missing, expected a number", file_.where(),
                       full(key));
    if (!value) return *fallback;
    if (!std::isfinite(*value)) core::throw_user("{}: {} is not finite", file_.where(), full(key));
    const auto single = static_cast<float>(*value);
    return static_cast<double>(single) == *value ? std::stod(fmt::format("{}", single)) : *value;
  }

  std::string text(const char* key, const char* fallback) const {
    return std::string(file_.text(full(key)).value_or(fallback));
  }
  bool boolean(const char* key, bool fallback) const {
    return file_.boolean(full(key)).value_or(fallback);
  }

 private:
  const GgufContent& file_;
  std::string architecture_;
};

// Llama 3's scaling stands in GGUF only as its result, a factor for each rotary frequency. All
// published models share the other constants, so the factor is found from the lowest frequency and
// the whole table is then checked (transformers, modeling_rope_utils.py, llama3).
Json llama3_scaling(const GgufContent& file, const GgufTensor& table, double theta) {
  std::vector<float> found(table.numel());
  dequantize_ggml(table.type, table.data, found);
  const double factor = found.back();
  constexpr double kLow = 1, kHigh = 4, kOriginal = 8192;
  for (size_t i = 0; i < found.size(); ++i) {
    const double frequency =
        std::pow(theta, -static_cast<double>(i) / static_cast<double>(found.size()));
    const double wavelength = 2 * std::numbers::pi / frequency;
    double expected = 1;
    if (wavelength > kOriginal / kLow) {
      expected = factor;
    } else if (wavelength > kOriginal / kHigh) {
      const double smooth = (kOriginal / wavelength - kLow) / (kHigh - kLow);
      expected = 1 / ((1 - smooth) / factor + smooth);
    }
    if (!(std::abs(found[i] - expected) <= 1e-4 * expected)) {
      core::throw_user(
          "{}: tensor 'rope_freqs.weight'[{}] is {}, but Llama 3's scaling by {} gives {}: RoPE of "
          "another kind is not supported",
          file.where(), i, found[i], factor, expected);
    }
  }
  return {{"rope_type", "llama3"},
          {"factor", factor},
          {"low_freq_factor", kLow},
          {"high_freq_factor", kHigh},
          {"original_max_position_embeddings", static_cast<int64_t>(kOriginal)}};
}

// null where positions are not scaled.
Json rope_scaling(const Keys& keys, double theta) {
  for (const char* name : {"rope_factors_long.weight", "rope_factors_short.weight"}) {
    if (keys.file().find_tensor(name) != nullptr) {
      core::throw_user("{}: tensor '{}': RoPE of this kind (longrope) is not supported",
                       keys.file().where(), name);
    }
  }
  if (const GgufTensor* table = keys.file().find_tensor("rope_freqs.weight"))
    return llama3_scaling(keys.file(), *table, theta);
  const std::string type = keys.text("rope.scaling.type", "none");
  if (type == "none") return nullptr;
  if (type != "linear" && type != "yarn") {
    core::throw_user("{}: {} is '{}', expected none, linear or yarn", keys.file().where(),
                     keys.full("rope.scaling.type"), type);
  }
  Json scaling = {{"rope_type", type}, {"factor", keys.number("rope.scaling.factor")}};
  if (type == "linear") return scaling;
  scaling["original_max_position_embeddings"] =
      keys.integer("rope.scaling.original_context_length");
  scaling["beta_fast"] = keys.number("rope.scaling.yarn_beta_fast", 32);
  scaling["beta_slow"] = keys.number("rope.scaling.yarn_beta_slow", 1);
  if (keys.number("rope.scaling.attn_factor", 1) != 1) {
    core::throw_user("{}: {} is {}, expected 1", keys.file().where(),
                     keys.full("rope.scaling.attn_factor"),
                     keys.number("rope.scaling.attn_factor"));
  }
  return scaling;
}

// What all architectures share.
Json common(const Keys& keys) {
  const GgufContent& file = keys.file();
  const GgufTensor* embedding = file.find_tensor("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2) {
    core::throw_user("{}: there is no matrix 'token_embd.weight': a model without an embedding?",
                     file.where());
  }
  const double theta = keys.number("rope.freq_base", 10000);
  Json config = {{"vocab_size", embedding->shape[0]},
                 {"hidden_size", keys.integer("embedding_length")},
                 {"intermediate_size", keys.integer("feed_forward_length")},
                 {"num_hidden_layers", keys.integer("block_count")},
                 {"num_attention_heads", keys.integer("attention.head_count")},
                 {"max_position_embeddings", keys.integer("context_length")},
                 {"rms_norm_eps", keys.number("attention.layer_norm_rms_epsilon")},
                 {"rope_theta", theta},
                 {"hidden_act", "silu"},
                 {"initializer_range", 0.02},
                 {"use_cache", true},
                 {"tie_word_embeddings", file.find_tensor("output.weight") == nullptr}};
  if (Json scaling = rope_scaling(keys, theta); !scaling.is_null())
    config["rope_scaling"] = std::move(scaling);
  if (config["num_attention_heads"] == 0)
    core::throw_user("{}: {} is 0", file.where(), keys.full("attention.head_count"));
  return config;
}

void refuse_experts(const Keys& keys) {
  if (keys.integer("expert_count", 0) > 0) {
    core::throw_user("{}: {} is {}: a mixture of experts of this architecture is not supported",
                     keys.file().where(), keys.full("expert_count"), keys.integer("expert_count"));
  }
}

Json dense(const Keys& keys, const std::string& type, const char* class_name) {
  Json config = common(keys);
  refuse_experts(keys);
  const int64_t heads = config["num_attention_heads"], hidden = config["hidden_size"];
  const int64_t head_dim = keys.integer("attention.key_length", hidden / heads);
  if (keys.integer("attention.value_length", head_dim) != head_dim ||
      keys.integer("rope.dimension_count", head_dim) != head_dim) {
    core::throw_user(
        "{}: heads with keys of {} features, values of {} and {} rotary ones are not supported",
        keys.file().where(), head_dim, keys.integer("attention.value_length", head_dim),
        keys.integer("rope.dimension_count", head_dim));
  }
  config["model_type"] = type;
  config["architectures"] = {class_name};
  config["num_key_value_heads"] = keys.integer("attention.head_count_kv", heads);
  config["head_dim"] = head_dim;
  config["attention_dropout"] = 0.0;
  return config;
}

Json llama(const Keys& keys) {
  Json config = dense(keys, "llama", "LlamaForCausalLM");
  config["attention_bias"] = keys.file().find_tensor("blk.0.attn_q.bias") != nullptr;
  config["mlp_bias"] = false;
  return config;
}

Json qwen2(const Keys& keys) {
  Json config = dense(keys, "qwen2", "Qwen2ForCausalLM");
  config["use_sliding_window"] = false;
  return config;
}

Json qwen3(const Keys& keys) {
  Json config = dense(keys, "qwen3", "Qwen3ForCausalLM");
  config["attention_bias"] = false;
  config["use_sliding_window"] = false;
  return config;
}

// Latents of V2 and V3. Files since 2025 store the up-projection of keys and values in two parts
// and count the cache's width as key_length, the heads' own widths under *_mla.
void add_latents(const Keys& keys, Json& config) {
  const bool split = keys.has("attention.key_length_mla");
  const int64_t rope = keys.integer("rope.dimension_count");
  const int64_t key = keys.integer(split ? "attention.key_length_mla" : "attention.key_length");
  if (key <= rope) {
    core::throw_user("{}: keys of {} features of which {} rotate: expected more",
                     keys.file().where(), key, rope);
  }
  config["num_key_value_heads"] = config["num_attention_heads"];
  config["q_lora_rank"] =
      keys.has("attention.q_lora_rank") ? Json(keys.integer("attention.q_lora_rank")) : Json();
  config["kv_lora_rank"] = keys.integer("attention.kv_lora_rank");
  config["qk_rope_head_dim"] = rope;
  config["qk_nope_head_dim"] = key - rope;
  config["v_head_dim"] =
      keys.integer(split ? "attention.value_length_mla" : "attention.value_length");
  config["attention_bias"] = false;
  config["attention_dropout"] = 0.0;
  if (!config.contains("rope_scaling")) return;
  // llama.cpp keeps 0.1 * mscale_all_dim; published models have both mscales equal.
  Json& scaling = config["rope_scaling"];
  if (keys.has("rope.scaling.yarn_log_multiplier")) {
    const double mscale = keys.number("rope.scaling.yarn_log_multiplier") * 10;
    scaling["mscale"] = scaling["mscale_all_dim"] = std::round(mscale * 1e4) / 1e4;
  }
  scaling["type"] = scaling["rope_type"];
}

void add_experts(const Keys& keys, bool sigmoid, Json& config) {
  const int64_t experts = keys.integer("expert_count"), used = keys.integer("expert_used_count");
  config["n_routed_experts"] = experts;
  config["num_experts_per_tok"] = used;
  config["n_shared_experts"] = keys.integer("expert_shared_count", 0);
  config["moe_intermediate_size"] = keys.integer("expert_feed_forward_length");
  config["first_k_dense_replace"] = keys.integer("leading_dense_block_count", 0);
  config["norm_topk_prob"] = keys.boolean("expert_weights_norm", sigmoid);
  config["routed_scaling_factor"] = keys.number("expert_weights_scale", 1);
  config["moe_layer_freq"] = 1;
  // Files older than October 2025 leave the groups out. V3 and R1 have 8, of which 4 are used; V2
  // (160 experts) 8, of which 3; nothing else with groups was published by then.
  const bool v3 = sigmoid && experts == 256, v2 = !sigmoid && experts == 160;
  const int64_t groups = keys.integer("expert_group_count", v3 || v2 ? 8 : 1);
  config["n_group"] = groups;
  config["topk_group"] = keys.integer("expert_group_used_count", v3 ? 4 : v2 ? 3 : 1);
  config["scoring_func"] = sigmoid ? "sigmoid" : "softmax";
  config["topk_method"] = sigmoid ? "noaux_tc" : groups > 1 ? "group_limited_greedy" : "greedy";
}

Json deepseek2(const Keys& keys) {
  constexpr int64_t kSoftmax = 1, kSigmoid = 2;
  // Files without the key are older than V3.
  const int64_t gate = keys.integer("expert_gating_func", kSoftmax);
  if (gate != kSoftmax && gate != kSigmoid) {
    core::throw_user("{}: {} is {}, expected 1 (softmax) or 2 (sigmoid)", keys.file().where(),
                     keys.full("expert_gating_func"), gate);
  }
  const bool sigmoid = gate == kSigmoid;
  Json config = common(keys);
  config["model_type"] = sigmoid ? "deepseek_v3" : "deepseek_v2";
  config["architectures"] = {sigmoid ? "DeepseekV3ForCausalLM" : "DeepseekV2ForCausalLM"};
  add_latents(keys, config);
  add_experts(keys, sigmoid, config);
  return config;
}

struct Architecture {
  const char* name;
  Json (*config)(const Keys&);
};

constexpr Architecture kArchitectures[] = {
    {"llama", llama}, {"qwen2", qwen2}, {"qwen3", qwen3}, {"deepseek2", deepseek2}};

}  // namespace

Json gguf_config_json(const GgufContent& file, const std::string& dtype) {
  const std::string name(file.require_text("general.architecture"));
  std::vector<std::string> known;
  for (const Architecture& entry : kArchitectures) {
    known.emplace_back(entry.name);
    if (name != entry.name) continue;
    Json config = entry.config(Keys(file, name));
    config["dtype"] = dtype;
    const GgufTokenIds ids = gguf_token_ids(file);
    if (ids.bos) config["bos_token_id"] = *ids.bos;
    if (ids.eos) config["eos_token_id"] = *ids.eos;
    if (ids.pad) config["pad_token_id"] = *ids.pad;
    return config;
  }
  core::throw_user("{}: general.architecture: unknown architecture '{}'{}", file.where(), name,
                   core::suggestion(name, known));
}

Json gguf_generation_config(const GgufContent& file) {
  const GgufTokenIds ids = gguf_token_ids(file);
  Json config = {{"_from_model_config", true}};
  if (ids.bos) config["bos_token_id"] = *ids.bos;
  if (ids.pad) config["pad_token_id"] = *ids.pad;
  if (ids.ends.size() == 1) config["eos_token_id"] = ids.ends[0];
  if (ids.ends.size() > 1) config["eos_token_id"] = ids.ends;
  return config;
}

}  // namespace ponder::policy
