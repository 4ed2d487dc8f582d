#include "policy/config.h"

#include <algorithm>

#include "core/error.h"
#include "core/file.h"
#include "core/json_text.h"
#include "core/spelling.h"
#include "policy/architectures.h"
#include "policy/config_keys.h"

namespace ponder::policy {
namespace {

using core::throw_user;
using nlohmann::json;

json parse_object(const std::string& text, const std::string& name) {
  json object = core::parse_json<json>(text, name);
  if (!object.is_object())
    throw_user("{}: expected a JSON object, found {}", name, object.type_name());
  return object;
}

const Architecture& find_architecture(const std::string& model_type, const std::string& name) {
  std::vector<std::string> known;
  for (const Architecture& architecture : architectures()) {
    if (architecture.model_type == model_type) return architecture;
    known.push_back(architecture.model_type);
  }
  throw_user("{}: model_type: unknown architecture '{}'{}", name, model_type,
             core::suggestion(model_type, known));
}

void read_common(const ConfigKeys& keys, ModelConfig& config) {
  config.vocab_size = keys.integer("vocab_size", 1);
  config.hidden_size = keys.integer("hidden_size", 1);
  config.intermediate_size = keys.integer("intermediate_size", 1);
  config.num_hidden_layers = keys.integer("num_hidden_layers", 1);
  // A layer is at least a dozen tensors: a count that only a mistake can make costs no memory.
  keys.require(
      config.num_hidden_layers <= 10000,
      fmt::format("num_hidden_layers: expected at most 10000, found {}", config.num_hidden_layers));
  config.num_attention_heads = keys.integer("num_attention_heads", 1);
  config.max_position_embeddings = keys.integer("max_position_embeddings", 1);
  config.rms_norm_eps = keys.positive("rms_norm_eps", 1e-6);
  config.tie_word_embeddings = keys.boolean("tie_word_embeddings", false);
  config.eos_token_ids = keys.ids("eos_token_id");
  const std::string activation = keys.text("hidden_act", "silu");
  keys.require(activation == "silu" || activation == "swish",
               fmt::format("hidden_act: expected 'silu', found '{}'", activation));
}

}  // namespace

bool is_block_fp8(const json& quantization) {
  return quantization.is_object() && quantization.value("quant_method", json()) == "fp8" &&
         quantization.value("weight_block_size", json()) == json({128, 128});
}

ModelConfig parse_config(const std::string& text, const std::string& name) {
  const json object = parse_object(text, name);
  const ConfigKeys keys(object, name);
  ModelConfig config;
  config.raw = object;
  config.model_type = keys.text("model_type", "");
  if (config.model_type.empty()) throw_user("{}: the key model_type is missing", name);
  const Architecture& architecture = find_architecture(config.model_type, name);
  read_common(keys, config);
  config.rope = read_rope(keys, config.max_position_embeddings);
  architecture.read(keys, config);
  keys.require(!keys.has("quantization_config") || is_block_fp8(object["quantization_config"]),
               "quantization_config: expected quant_method fp8 with weight_block_size [128, 128]");
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
  for (const int64_t id : ConfigKeys(object, name).ids("eos_token_id")) {
    auto& known = config.eos_token_ids;
    if (std::find(known.begin(), known.end(), id) == known.end()) known.push_back(id);
  }
  return config;
}

}  // namespace ponder::policy
