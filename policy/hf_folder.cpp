#include "policy/hf_folder.h"

#include <ATen/ATen.h>

#include "core/error.h"
#include "core/file.h"
#include "core/json_text.h"
#include "policy/safetensors.h"

namespace ponder::policy {
namespace {

constexpr int64_t kShardBytesMax = int64_t{5}
                                   << 30;  // transformers' default of 5 GB, rounded to binary

// The balance bias stays float32 as V3 ships it; every other tensor takes the checkpoint's dtype.
NamedTensors tensors_to_save(const Model& model, at::ScalarType dtype) {
  NamedTensors out;
  for (const Parameter& p : model.merged_parameters()) {
    out.emplace_back(p.name, p.tensor.detach().to(p.trainable ? dtype : at::kFloat));
  }
  for (const Parameter& p : model.shared_parameters())
    out.emplace_back(p.name, p.tensor.detach().to(dtype));
  return out;
}

// How the model is sampled from by its makers' word (temperature, top_p, ...), which the weights'
// change leaves as it is.
nlohmann::json generation_config_of(const std::filesystem::path& dir) {
  const auto path = dir / "generation_config.json";
  if (!std::filesystem::exists(path)) return {{"_from_model_config", true}};
  auto object =
      core::parse_json<nlohmann::json>(core::read_file(path, "generation config"), path.string());
  if (!object.is_object()) core::throw_user("{}: expected a JSON object", path.string());
  return object;
}

void write_json(const std::filesystem::path& path, const nlohmann::json& object) {
  core::write_file_atomic(path, object.dump(2) + "\n");
}

}  // namespace

void copy_chat_templates(const std::filesystem::path& from, const std::filesystem::path& to) {
  const auto name = std::filesystem::path("chat_templates");
  if (!std::filesystem::is_directory(from / name)) return;
  std::filesystem::create_directory(to / name);
  for (const auto& entry : std::filesystem::directory_iterator(from / name)) {
    if (entry.path().extension() != ".jinja") continue;
    core::write_file_atomic(to / name / entry.path().filename(),
                            core::read_file(entry.path(), "chat template"));
  }
  core::sync_directory(to / name);
}

void save_hf_folder(const Model& model, at::ScalarType dtype,
                    const std::filesystem::path& tokenizer_dir, const std::filesystem::path& dir) {
  nlohmann::json config = model.config().raw;
  config.erase("quantization_config");  // FP8 weights were decoded when they were loaded
  // Says what the weights hold, where transformers had written a number without the modules.
  if (config.contains("num_nextn_predict_layers"))
    config["num_nextn_predict_layers"] = model.num_mtp();
  const char* key = config.contains("dtype") ? "dtype" : "torch_dtype";
  config[key] = dtype == at::kBFloat16 ? "bfloat16" : "float32";
  write_json(dir / "config.json", config);
  nlohmann::json generation = generation_config_of(tokenizer_dir);
  generation["eos_token_id"] = model.config().eos_token_ids;
  for (const char* id : {"bos_token_id", "pad_token_id"}) {
    if (config.contains(id)) generation[id] = config[id];
  }
  write_json(dir / "generation_config.json", generation);
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                           "chat_template.jinja"}) {
    if (!std::filesystem::exists(tokenizer_dir / name)) continue;
    core::write_file_atomic(dir / name, core::read_file(tokenizer_dir / name, "tokenizer's file"));
  }
  copy_chat_templates(tokenizer_dir, dir);
  save_weight_shards(dir, tensors_to_save(model, dtype), kShardBytesMax);
}

void check_can_end(const ModelConfig& config, const std::filesystem::path& dir) {
  if (!config.eos_token_ids.empty()) return;
  core::throw_user("{}: config.json names no eos_token_id: no completion could end", dir.string());
}

void check_tokenizer_fits(const Tokenizer& tokenizer, const ModelConfig& config,
                          const std::filesystem::path& dir) {
  if (tokenizer.vocab_size() > config.vocab_size) {
    core::throw_user(
        "{}: the tokenizer does not fit the model: tokenizer.json has ids up to {}, config.json "
        "has vocab_size {}",
        dir.string(), tokenizer.vocab_size() - 1, config.vocab_size);
  }
  for (const int64_t id : config.eos_token_ids) {
    if (id >= 0 && id < config.vocab_size &&
        !tokenizer.id_to_token(static_cast<int32_t>(id)).empty())
      continue;
    core::throw_user(
        "{}: the tokenizer does not fit the model: eos_token_id {} is no token of tokenizer.json",
        dir.string(), id);
  }
}

}  // namespace ponder::policy
