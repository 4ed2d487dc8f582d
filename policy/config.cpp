#include "policy/config.h"

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "core/file.h"
#include "core/spelling.h"

namespace ponder::policy {
namespace {

using core::throw_user;
using nlohmann::json;

const std::vector<std::string> kModelTypes = {"deepseek_v3"};

json parse_object(const std::string& text, const std::string& name) {
  json object;
  try {
    object = json::parse(text);
  } catch (const json::exception& error) {
    throw_user("{}: broken JSON: {}", name, error.what());
  }
  if (!object.is_object())
    throw_user("{}: expected a JSON object, found {}", name, object.type_name());
  return object;
}

// Reads typed keys of config.json with errors that name the key.
class Keys {
 public:
  Keys(const json& object, const std::string& name) : object_(object), name_(name) {}

  bool has(const char* key) const { return object_.contains(key) && !object_[key].is_null(); }

  int64_t integer(const char* key, int64_t low, std::optional<int64_t> fallback = {}) const {
    if (!has(key)) {
      if (fallback) return *fallback;
      throw_user("{}: the key {} is missing, expected an integer", name_, key);
    }
    const json& value = object_[key];
    if (!value.is_number_integer())
      throw_user("{}: {}: expected an integer, found {}", name_, key, value.dump());
    const auto number = value.get<int64_t>();
    if (number < low) throw_user("{}: {}: expected at least {}, found {}", name_, key, low, number);
    // No published model comes near; keeps products of two sizes far from overflow.
    if (number > (int64_t{1} << 30))
      throw_user("{}: {}: expected at most 2^30, found {}", name_, key, number);
    return number;
  }

  double number(const char* key, double fallback) const {
    if (!has(key)) return fallback;
    const json& value = object_[key];
    if (!value.is_number())
      throw_user("{}: {}: expected a number, found {}", name_, key, value.dump());
    return value.get<double>();
  }

  bool boolean(const char* key, bool fallback) const {
    if (!has(key)) return fallback;
    const json& value = object_[key];
    if (!value.is_boolean())
      throw_user("{}: {}: expected true or false, found {}", name_, key, value.dump());
    return value.get<bool>();
  }

  std::string text(const char* key, const std::string& fallback) const {
    if (!has(key)) return fallback;
    const json& value = object_[key];
    if (!value.is_string())
      throw_user("{}: {}: expected a string, found {}", name_, key, value.dump());
    return value.get<std::string>();
  }

  // A token id or a list of them.
  std::vector<int64_t> ids(const char* key) const {
    if (!has(key)) return {};
    const json& value = object_[key];
    std::vector<int64_t> out;
    for (const json& item : value.is_array() ? value : json::array({value})) {
      if (!item.is_number_integer()) {
        throw_user("{}: {}: expected a token id or a list of them, found {}", name_, key,
                   value.dump());
      }
      out.push_back(item.get<int64_t>());
    }
    return out;
  }

  void require(bool condition, const std::string& message) const {
    if (!condition) throw_user("{}: {}", name_, message);
  }

 private:
  const json& object_;
  const std::string& name_;
};

// The published key is rope_theta (with rope_scaling); transformers 5 writes rope_parameters.
void read_rope(const Keys& keys, const json& object, const std::string& name, ModelConfig& config) {
  config.rope_theta = keys.number("rope_theta", config.rope_theta);
  config.rope_interleave = keys.boolean("rope_interleave", true);
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (!keys.has(key)) continue;
    if (!object[key].is_object())
      throw_user("{}: {}: expected an object, found {}", name, key, object[key].dump());
    const std::string inner_name = name + ": " + key;
    const Keys inner(object[key], inner_name);
    const std::string type = inner.text("rope_type", inner.text("type", "default"));
    if (type != "default") {
      throw_user("{}: rope type '{}' is not supported by this version, expected 'default'",
                 inner_name, type);
    }
    config.rope_theta = inner.number("rope_theta", config.rope_theta);
  }
  keys.require(config.rope_theta > 0,
               fmt::format("rope_theta: expected above 0, found {}", config.rope_theta));
}

MlaConfig read_mla(const Keys& keys) {
  MlaConfig mla;
  mla.q_lora_rank = keys.integer("q_lora_rank", 1, 0);
  mla.kv_lora_rank = keys.integer("kv_lora_rank", 1);
  mla.qk_nope_head_dim = keys.integer("qk_nope_head_dim", 1);
  mla.qk_rope_head_dim = keys.integer("qk_rope_head_dim", 2);
  mla.v_head_dim = keys.integer("v_head_dim", 1);
  keys.require(
      mla.qk_rope_head_dim % 2 == 0,
      fmt::format("qk_rope_head_dim: expected an even number, found {}", mla.qk_rope_head_dim));
  return mla;
}

MoeConfig read_moe(const Keys& keys) {
  MoeConfig moe;
  moe.n_routed_experts = keys.integer("n_routed_experts", 1);
  moe.n_shared_experts = keys.integer("n_shared_experts", 0, 0);
  moe.num_experts_per_tok = keys.integer("num_experts_per_tok", 1);
  moe.moe_intermediate_size = keys.integer("moe_intermediate_size", 1);
  moe.n_group = keys.integer("n_group", 1, 1);
  moe.topk_group = keys.integer("topk_group", 1, 1);
  moe.norm_topk_prob = keys.boolean("norm_topk_prob", true);
  moe.routed_scaling_factor = keys.number("routed_scaling_factor", 1);
  keys.require(moe.n_routed_experts % moe.n_group == 0,
               fmt::format("n_routed_experts {} is no multiple of n_group {}", moe.n_routed_experts,
                           moe.n_group));
  const int64_t per_group = moe.n_routed_experts / moe.n_group;
  keys.require(per_group >= 2 || moe.n_group == 1, "each expert group needs at least 2 experts");
  keys.require(moe.topk_group <= moe.n_group,
               fmt::format("topk_group {} is above n_group {}", moe.topk_group, moe.n_group));
  keys.require(moe.num_experts_per_tok <= moe.topk_group * per_group,
               fmt::format("num_experts_per_tok {} is above the {} experts of the chosen groups",
                           moe.num_experts_per_tok, moe.topk_group * per_group));
  return moe;
}

void refuse_unsupported(const Keys& keys) {
  const std::string activation = keys.text("hidden_act", "silu");
  keys.require(activation == "silu",
               fmt::format("hidden_act: expected 'silu', found '{}'", activation));
  keys.require(!keys.boolean("attention_bias", false),
               "attention_bias: true is not supported by this version");
  const std::string scoring = keys.text("scoring_func", "sigmoid");
  keys.require(scoring == "sigmoid",
               fmt::format("scoring_func: expected 'sigmoid', found '{}'", scoring));
  const std::string method = keys.text("topk_method", "noaux_tc");
  keys.require(method == "noaux_tc",
               fmt::format("topk_method: expected 'noaux_tc', found '{}'", method));
  keys.require(keys.integer("moe_layer_freq", 1, 1) == 1, "moe_layer_freq: expected 1");
  keys.require(!keys.has("quantization_config"),
               "quantization_config: quantised weights are not supported by this version");
}

}  // namespace

ModelConfig parse_config(const std::string& text, const std::string& name) {
  const json object = parse_object(text, name);
  const Keys keys(object, name);
  ModelConfig config;
  config.raw = object;
  config.model_type = keys.text("model_type", "");
  if (config.model_type.empty()) throw_user("{}: the key model_type is missing", name);
  if (std::find(kModelTypes.begin(), kModelTypes.end(), config.model_type) == kModelTypes.end()) {
    throw_user("{}: model_type: unknown architecture '{}'{}", name, config.model_type,
               core::suggestion(config.model_type, kModelTypes));
  }
  config.vocab_size = keys.integer("vocab_size", 1);
  config.hidden_size = keys.integer("hidden_size", 1);
  config.intermediate_size = keys.integer("intermediate_size", 1);
  config.num_hidden_layers = keys.integer("num_hidden_layers", 1);
  config.num_attention_heads = keys.integer("num_attention_heads", 1);
  config.first_k_dense_replace = keys.integer("first_k_dense_replace", 0, 0);
  config.max_position_embeddings = keys.integer("max_position_embeddings", 1);
  config.rms_norm_eps = keys.number("rms_norm_eps", 1e-6);
  keys.require(config.rms_norm_eps > 0, "rms_norm_eps: expected above 0");
  config.tie_word_embeddings = keys.boolean("tie_word_embeddings", false);
  config.eos_token_ids = keys.ids("eos_token_id");
  read_rope(keys, object, name, config);
  config.mla = read_mla(keys);
  if (config.first_k_dense_replace < config.num_hidden_layers) config.moe = read_moe(keys);
  refuse_unsupported(keys);
  return config;
}

ModelConfig read_config(const std::filesystem::path& dir) {
  if (!std::filesystem::is_directory(dir)) {
    throw_user(
        "no model folder {}: expected a Hugging Face folder with config.json, model.safetensors "
        "and tokenizer.json",
        dir.string());
  }
  const auto path = dir / "config.json";
  ModelConfig config = parse_config(core::read_file(path, "model's config.json"), path.string());
  const auto generation = dir / "generation_config.json";
  if (!std::filesystem::exists(generation)) return config;
  const std::string name = generation.string();
  const json object = parse_object(core::read_file(generation, "generation config"), name);
  for (const int64_t id : Keys(object, name).ids("eos_token_id")) {
    auto& known = config.eos_token_ids;
    if (std::find(known.begin(), known.end(), id) == known.end()) known.push_back(id);
  }
  return config;
}

}  // namespace ponder::policy
