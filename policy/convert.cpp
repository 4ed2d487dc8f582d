#include "policy/convert.h"

#include <map>
#include <nlohmann/json.hpp>

#include <ATen/ATen.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include "core/error.h"
#include "core/file.h"
#include "core/json_text.h"
#include "core/stop.h"
#include "policy/check_weights.h"
#include "policy/config.h"
#include "policy/gguf_config.h"
#include "policy/gguf_tokenizer.h"
#include "policy/gguf_weights.h"
#include "policy/hf_folder.h"
#include "policy/model.h"
#include "policy/peft_folder.h"
#include "policy/safetensors.h"
#include "policy/tokenizer.h"

namespace ponder::policy {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// A folder that is made under another name and gets its own when all is in it.
class NewFolder {
 public:
  explicit NewFolder(const fs::path& path)
      : path_(path), part_(fmt::format("{}.part-{}", path.string(), ::getpid())) {
    if (fs::exists(fs::symlink_status(path))) {
      core::throw_user("{} exists already: give the name of a new folder, or remove it",
                       path.string());
    }
    std::error_code failed;
    fs::create_directory(part_, failed);
    if (failed) core::throw_user("cannot make the folder {}: {}", part_.string(), failed.message());
  }
  ~NewFolder() {
    std::error_code ignored;  // a destructor must not throw; what is left says .part
    if (!kept_) fs::remove_all(part_, ignored);
  }
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;

  const fs::path& part() const { return part_; }
  void keep() {
    core::sync_directory(part_);
    fs::rename(part_, path_);
    kept_ = true;
    core::sync_directory(path_.has_parent_path() ? path_.parent_path() : fs::path("."));
  }

 private:
  fs::path path_, part_;
  bool kept_ = false;
};

const char* dtype_text(at::ScalarType dtype) {
  switch (dtype) {
    case at::kBFloat16:
      return "bfloat16";
    case at::kHalf:
      return "float16";
    case at::kFloat:
      return "float32";
    default:
      PONDER_CHECK(false, "[convert_model] dtype {}", at::toString(dtype));
  }
}

void write_json(const fs::path& path, const Json& object) {
  core::write_file_atomic(path, object.dump(2) + "\n");
}

// `source` with a check of what it makes: finite, and finite still in its dtype (float16 ends at
// 65504).
TensorSource checked(TensorSource source, const std::string& where) {
  source.make = [make = std::move(source.make), name = source.name, where] {
    if (core::stop_requested()) core::throw_run("stopped: nothing was written");
    at::Tensor tensor = make();
    if (at::isFloatingType(tensor.scalar_type()) && !tensor.isfinite().all().item<bool>()) {
      core::throw_user("{}: tensor '{}' holds values that are not finite in {}", where, name,
                       at::toString(tensor.scalar_type()));
    }
    return tensor;
  };
  return source;
}

ConvertReport write_weights(const fs::path& folder, std::vector<TensorSource> sources,
                            const std::string& where, int64_t max_shard_bytes) {
  ConvertReport report;
  for (TensorSource& source : sources) {
    ++report.tensors;
    report.parameters += c10::multiply_integers(source.shape);
    source = checked(std::move(source), where);
  }
  save_weight_shards(folder, sources, max_shard_bytes);
  return report;
}

// Every tensor that the architecture has must be there in its shape; none may be there twice.
void check_complete(const std::vector<TensorSource>& sources, const ModelConfig& config,
                    const std::string& where) {
  std::map<std::string, at::IntArrayRef> found;
  for (const TensorSource& source : sources) {
    if (!found.emplace(source.name, source.shape).second)
      core::throw_user("{}: two tensors stand for '{}'", where, source.name);
  }
  const Model model = Model::meta(config);
  for (const Parameter& p : model.parameters()) {
    const auto shape = found.find(p.name);
    if (shape == found.end()) {
      core::throw_user("{}: no tensor stands for '{}' of a {}", where, p.name, config.model_type);
    }
    if (shape->second != p.tensor.sizes()) {
      core::throw_user("{}: the tensor that stands for '{}' has shape [{}], expected [{}]", where,
                       p.name, fmt::join(shape->second, ", "), fmt::join(p.tensor.sizes(), ", "));
    }
    found.erase(shape);
  }
  if (!found.empty()) {
    core::throw_user("{}: the tensor that stands for '{}' belongs to no part of a {}", where,
                     found.begin()->first, config.model_type);
  }
}

ConvertReport convert_gguf(const fs::path& in, const fs::path& folder,
                           const ConvertOptions& options) {
  const GgufFile file(in);
  const Json config = gguf_config_json(file.content(), dtype_text(options.dtype));
  const ModelConfig parsed = parse_config(config.dump(), in.string());
  const std::vector<TensorSource> weights = gguf_weights(file, config, options.dtype);
  check_complete(weights, parsed, in.string());
  write_json(folder / "config.json", config);
  write_json(folder / "generation_config.json", gguf_generation_config(file.content()));
  core::write_file_atomic(folder / "tokenizer.json", gguf_tokenizer_json(file.content()).dump());
  write_json(folder / "tokenizer_config.json",
             gguf_tokenizer_config(file.content(), config["max_position_embeddings"]));
  const ModelConfig written = read_config(folder);
  check_tokenizer_fits(Tokenizer::from_folder(folder), written, in);
  return write_weights(folder, weights, in.string(), options.max_shard_bytes);
}

// The config of the decoded model.
Json decoded_config(const fs::path& path, at::ScalarType dtype) {
  auto config = core::parse_json<Json>(core::read_file(path, "model's config.json"), path.string());
  if (!config.is_object())
    core::throw_user("{}: expected a JSON object, found {}", path.string(), config.type_name());
  if (const auto quantized = config.find("quantization_config"); quantized != config.end()) {
    if (!quantized->is_null() && !is_block_fp8(*quantized)) {
      core::throw_user(
          "{}: quantization_config: expected quant_method fp8 with weight_block_size [128, 128], "
          "found {}",
          path.string(), quantized->dump());
    }
    config.erase(quantized);
  }
  config[config.contains("torch_dtype") ? "torch_dtype" : "dtype"] = dtype_text(dtype);
  return config;
}

// What belongs to a model and is no weight: tokenizer, generation, chat template, licence, code.
void copy_companions(const fs::path& in, const fs::path& folder) {
  for (const auto& entry : fs::directory_iterator(in)) {
    const std::string name = entry.path().filename().string();
    const std::string extension = entry.path().extension().string();
    const bool text = extension == ".json" || extension == ".jinja" || extension == ".txt" ||
                      extension == ".md" || extension == ".py" || extension == ".model" ||
                      name.starts_with("LICENSE");
    if (!entry.is_regular_file() || !text || name == "config.json" ||
        name.ends_with(".safetensors.index.json") || name.ends_with(".bin.index.json"))
      continue;
    core::write_file_atomic(folder / name, core::read_file(entry.path(), "model's file"));
  }
  copy_chat_templates(in, folder);
}

ConvertReport convert_folder(const fs::path& in, const fs::path& folder,
                             const ConvertOptions& options) {
  const Json config = decoded_config(in / "config.json", options.dtype);
  const ModelConfig parsed = parse_config(config.dump(), (in / "config.json").string());
  const auto weights = std::make_shared<WeightFolder>(in);
  check_weights(*weights, parsed);
  std::map<std::string, LowRank> differences;
  if (!options.adapter.empty()) differences = read_lora(Model::meta(parsed), options.adapter);
  std::vector<TensorSource> sources;
  for (const std::string& name : weights->names()) {
    if (weights->is_block_scale(name)) continue;
    const TensorInfo& info = weights->info(name);
    at::ScalarType dtype = at::isFloatingType(info.dtype) ? options.dtype : info.dtype;
    if (name.ends_with("e_score_correction_bias")) dtype = at::kFloat;  // as V3 ships it
    const auto found = differences.find(name);
    if (found == differences.end()) {
      sources.push_back(
          {name, dtype, info.shape, [weights, name, dtype] { return weights->load(name, dtype); }});
      continue;
    }
    sources.push_back({name, dtype, info.shape, [weights, name, dtype, by = found->second] {
                         return by.difference().add_(weights->load(name, at::kFloat)).to(dtype);
                       }});
    differences.erase(found);
  }
  if (!differences.empty()) {
    core::throw_user("{}: the adapter changes '{}', which {} does not hold",
                     options.adapter.string(), differences.begin()->first, in.string());
  }
  write_json(folder / "config.json", config);
  copy_companions(in, folder);
  return write_weights(folder, std::move(sources), in.string(), options.max_shard_bytes);
}

}  // namespace

ConvertReport convert_model(const fs::path& in, const fs::path& out,
                            const ConvertOptions& options) {
  if (!fs::exists(in)) {
    core::throw_user("there is no {}: expected a GGUF file or a Hugging Face folder", in.string());
  }
  fs::path name = out;
  if (!name.has_filename()) name = name.parent_path();  // "OUT/" means the same
  if (!options.adapter.empty() && !fs::is_directory(in)) {
    core::throw_user("--adapter: {} is no Hugging Face folder: convert it first, then merge",
                     in.string());
  }
  NewFolder folder(name);
  const ConvertReport report = fs::is_directory(in) ? convert_folder(in, folder.part(), options)
                                                    : convert_gguf(in, folder.part(), options);
  folder.keep();
  return report;
}

}  // namespace ponder::policy
