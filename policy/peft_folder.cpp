#include "policy/peft_folder.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include <ATen/ATen.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/file.h"
#include "core/json_text.h"
#include "policy/lora.h"
#include "policy/safetensors.h"

namespace ponder::policy {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kA = ".lora_A.weight", kB = ".lora_B.weight", kWeight = ".weight";

// "model.layers.3.mlp.experts" of "model.layers.3.mlp.experts.7.up_proj"; "" of others.
std::string mixture_of(const std::string& name) {
  const size_t found = name.find(".mlp.experts.");
  return found == std::string::npos ? "" : name.substr(0, found) + ".mlp.experts";
}

// PEFT 0.21 takes every target module of a DeepSeek model whose name ends so for a part of
// transformers' fused experts, dense and shared MLPs too. Named as a target parameter, such a
// linear's weight gets an adapter of the same shape under the same name.
bool taken_for_experts(const std::string& name, const ModelConfig& config) {
  if (!config.model_type.starts_with("deepseek")) return false;
  const std::string last = name.substr(name.rfind('.') + 1);
  return last == "gate_proj" || last == "up_proj" || last == "down_proj";
}

struct Targets {
  std::set<std::string> modules, parameters, mixtures;
};

// Whole names: by a last part alone PEFT would also look for adapters that are not there.
Targets targets_of(const Model& model) {
  Targets out;
  for (const auto& adapter : model.adapters()) {
    if (const std::string mixture = mixture_of(adapter->name); !mixture.empty()) {
      out.mixtures.insert(mixture);
      out.parameters.insert({mixture + ".gate_up_proj", mixture + ".down_proj"});
    } else if (taken_for_experts(adapter->name, model.config())) {
      out.parameters.insert(adapter->name + std::string(kWeight));
    } else {
      out.modules.insert(adapter->name);
    }
  }
  return out;
}

NamedTensors adapter_tensors(const Model& model, const std::set<std::string>& mixtures) {
  std::map<std::string, std::shared_ptr<Adapter>> trained;
  for (const auto& adapter : model.adapters()) trained[adapter->name] = adapter;
  const at::Tensor& some = model.adapters().front()->a;
  NamedTensors out;
  for (const Parameter& p : model.parameters()) {
    if (!p.name.ends_with(kWeight)) continue;
    const std::string name = p.name.substr(0, p.name.size() - kWeight.size());
    const auto found = trained.find(name);
    if (found == trained.end() && !mixtures.contains(mixture_of(name))) continue;
    const auto zeros = [&](int64_t rows, int64_t columns) {
      return at::zeros({rows, columns}, some.options().requires_grad(false));
    };
    const int64_t rank = some.size(0);
    const bool has = found != trained.end();
    const std::string key = std::string(kPrefix) + name;
    out.emplace_back(key + std::string(kA),
                     has ? found->second->a.detach() : zeros(rank, p.tensor.size(1)));
    out.emplace_back(key + std::string(kB),
                     has ? found->second->b.detach() : zeros(p.tensor.size(0), rank));
  }
  return out;
}

// PEFT's configuration, checked.
class PeftConfig {
 public:
  explicit PeftConfig(const fs::path& path) : path_(path.string()) {
    json_ = core::parse_json<Json>(core::read_file(path, "adapter's config"), path_);
    if (!json_.is_object()) core::throw_user("{}: expected an object", path_);
    if (json_.value("peft_type", Json()) != "LORA") fail("peft_type", "\"LORA\"");
    for (const char* key : {"use_dora", "use_qalora", "lora_bias", "fan_in_fan_out"})
      if (truthy(key)) fail(key, "false: only plain sums of weight and difference are read");
    for (const char* key : {"modules_to_save", "trainable_token_indices", "layer_replication",
                            "alora_invocation_tokens", "arrow_config"})
      if (truthy(key)) fail(key, "null: only plain sums of weight and difference are read");
    if (truthy("bias") && json_["bias"] != "none") fail("bias", "\"none\"");
  }

  // By the first of a matrix's names (its own, that of the stack it lies in) that a pattern means.
  double scaling(const std::vector<std::string>& names) const {
    const double alpha = value("alpha_pattern", "lora_alpha", names);
    const double rank = value("rank_pattern", "r", names);
    if (rank < 1) fail("r", "a rank from 1");
    return alpha / (truthy("use_rslora") ? std::sqrt(rank) : rank);
  }

 private:
  bool truthy(const char* key) const {
    const auto found = json_.find(key);
    if (found == json_.end() || found->is_null() || *found == false) return false;
    return !(found->is_array() || found->is_object()) || !found->empty();
  }

  [[noreturn]] void fail(const char* key, std::string_view expected) const {
    const Json found = json_.value(key, Json());
    core::throw_user("{}: {}: expected {}, found {}", path_, key, expected,
                     found.dump(-1, ' ', false, Json::error_handler_t::replace));
  }

  static bool matches(const std::string& pattern, const std::string& name) {
    return std::regex_match(name, std::regex("(.*\\.)?(" + pattern + ")"));
  }

  double value(const char* patterns, const char* key, const std::vector<std::string>& names) const {
    const Json found = json_.value(patterns, Json::object());
    if (!found.is_null() && !found.is_object()) fail(patterns, "an object");
    for (const std::string& name : names) {
      for (const auto& [pattern, number] : found.items()) {
        try {
          if (!matches(pattern, name)) continue;
        } catch (const std::regex_error& error) {
          core::throw_user("{}: {}: '{}' is no regular expression: {}", path_, patterns, pattern,
                           error.what());
        }
        if (!number.is_number()) fail(patterns, "numbers");
        return number.get<double>();
      }
    }
    const auto plain = json_.find(key);
    if (plain == json_.end() || !plain->is_number()) fail(key, "a number");
    return plain->get<double>();
  }

  std::string path_;
  Json json_;
};

// One file's pairs of tensors, laid out by the matrices that they change.
class AdapterReader {
 public:
  AdapterReader(const Model& model, const fs::path& dir)
      : config_(dir / "adapter_config.json"),
        file_(dir / "adapter_model.safetensors"),
        moe_(model.config().moe),
        hidden_(model.config().hidden_size) {
    for (const Parameter& p : model.parameters())
      if (p.tensor.dim() == 2) shapes_.emplace(p.name, p.tensor.sizes().vec());
  }

  std::map<std::string, LowRank> read() {
    for (const std::string& name : file_.names()) {
      if (is_frozen_copy(name)) continue;
      if (!name.starts_with(kPrefix) || !(name.ends_with(kA) || name.ends_with(kB)))
        fail(name, "belongs to no low-rank difference of a matrix");
      if (!name.ends_with(kA)) {
        partner(name, kB, kA);
        continue;
      }
      const std::string module =
          name.substr(kPrefix.size(), name.size() - kPrefix.size() - kA.size());
      read_pair(module, tensor(name), tensor(partner(name, kA, kB)), name);
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void fail(const std::string& name, const std::string& what) const {
    core::throw_user("{}: tensor '{}' {}", file_.path().string(), name, what);
  }

  // PEFT saves the weight beside an adapter of lm_head with it, though it is the base model's.
  bool is_frozen_copy(const std::string& name) const {
    constexpr std::string_view kFrozen = ".base_layer.weight";
    if (!name.starts_with(kPrefix) || !name.ends_with(kFrozen)) return false;
    const std::string module =
        name.substr(kPrefix.size(), name.size() - kPrefix.size() - kFrozen.size());
    const auto found = shapes_.find(module + std::string(kWeight));
    if (found == shapes_.end() || found->second != tensor(name).sizes())
      fail(name, "has not the shape of the base model's weight");
    return true;
  }

  std::string partner(const std::string& name, std::string_view end, std::string_view other) const {
    std::string found = name.substr(0, name.size() - end.size()) + std::string(other);
    if (!file_.contains(found)) fail(name, fmt::format("lacks its partner '{}'", found));
    return found;
  }

  at::Tensor tensor(const std::string& name) const {
    const at::Tensor values = file_.tensor(name);
    if (values.dim() != 2 || !at::isFloatingType(values.scalar_type()))
      fail(name, "is no matrix of floating point");
    if (!values.isfinite().all().item<bool>()) fail(name, "holds values that are not finite");
    return values;
  }

  void read_pair(const std::string& module, const at::Tensor& a, const at::Tensor& b,
                 const std::string& name) {
    const std::string weight = module + std::string(kWeight);
    if (const auto found = shapes_.find(weight); found != shapes_.end()) {
      const std::vector<int64_t>& shape = found->second;
      if (a.size(1) != shape[1] || b.size(0) != shape[0] || a.size(0) != b.size(1)) {
        fail(name, fmt::format("and its partner have shapes [{}] and [{}], expected [r, {}] and "
                               "[{}, r]",
                               fmt::join(a.sizes(), ", "), fmt::join(b.sizes(), ", "), shape[1],
                               shape[0]));
      }
      keep(weight, {a, b, scaling_of(module)}, name);
      return;
    }
    std::string mixture = module;
    while (mixture.ends_with(".base_layer")) mixture.resize(mixture.size() - 11);
    if (!shapes_.contains(mixture + ".0.gate_proj.weight"))
      fail(name, "changes a matrix that the model does not have");
    read_stack(mixture, a, b, name);
  }

  // What PEFT's ParamWrapper holds for [experts, out, in]: a [rank x experts, in] with the expert
  // outermost, b [out, rank x experts] with the expert innermost. Which of a mixture's two stacks
  // it is shows in the shapes: hidden -> 2 intermediate or intermediate -> hidden.
  void read_stack(const std::string& mixture, const at::Tensor& a, const at::Tensor& b,
                  const std::string& name) {
    const int64_t experts = moe_.n_routed_experts, wide = moe_.moe_intermediate_size;
    const bool both = a.size(1) == hidden_ && b.size(0) == 2 * wide;
    const bool down = a.size(1) == wide && b.size(0) == hidden_;
    if (!(both || down) || a.size(0) != b.size(1) || a.size(0) % experts != 0) {
      fail(name, fmt::format("and its partner have shapes [{}] and [{}], which fit no stack of {} "
                             "experts",
                             fmt::join(a.sizes(), ", "), fmt::join(b.sizes(), ", "), experts));
    }
    const double scaling = config_.scaling({mixture + (both ? ".gate_up_proj" : ".down_proj")});
    const at::Tensor as = a.view({experts, -1, a.size(1)});
    const at::Tensor bs = b.reshape({b.size(0), -1, experts});
    for (int64_t e = 0; e < experts; ++e) {
      const at::Tensor one = bs.select(2, e);
      const auto part = [&](const char* projection, const at::Tensor& rows) {
        keep(fmt::format("{}.{}.{}.weight", mixture, e, projection), {as[e], rows, scaling}, name);
      };
      if (down) {
        part("down_proj", one);
      } else {
        part("gate_proj", one.narrow(0, 0, wide));
        part("up_proj", one.narrow(0, wide, wide));
      }
    }
  }

  double scaling_of(const std::string& module) const {
    std::vector<std::string> names = {module};
    if (const std::string mixture = mixture_of(module); !mixture.empty())
      names.push_back(mixture + (module.ends_with("down_proj") ? ".down_proj" : ".gate_up_proj"));
    return config_.scaling(names);
  }

  void keep(const std::string& weight, LowRank&& difference, const std::string& name) {
    if (!out_.emplace(weight, std::move(difference)).second)
      fail(name, fmt::format("is a second difference of '{}'", weight));
  }

  PeftConfig config_;
  SafetensorsFile file_;
  MoeConfig moe_;
  int64_t hidden_;
  std::map<std::string, std::vector<int64_t>> shapes_;
  std::map<std::string, LowRank> out_;
};

}  // namespace

void save_lora(const Model& model, const fs::path& base, const fs::path& dir) {
  PONDER_CHECK(!model.adapters().empty(), "[save_lora] the model has no adapters");
  const Adapter& first = *model.adapters().front();
  const int64_t rank = first.a.size(0);
  const double alpha = first.scaling * static_cast<double>(rank);
  for (const auto& adapter : model.adapters()) {
    PONDER_CHECK(adapter->a.size(0) == rank && adapter->scaling == first.scaling,
                 "[save_lora] adapters of several ranks or scalings");
  }
  const Targets targets = targets_of(model);
  Json config = {{"peft_type", "LORA"},
                 {"task_type", "CAUSAL_LM"},
                 {"base_model_name_or_path", base.string()},
                 {"r", rank},
                 {"lora_alpha", alpha},
                 {"lora_dropout", 0.0},
                 {"target_modules", targets.modules},
                 {"target_parameters", targets.parameters},
                 {"bias", "none"},
                 {"fan_in_fan_out", false},
                 {"init_lora_weights", true},
                 {"inference_mode", true},
                 {"modules_to_save", nullptr}};
  if (!targets.mixtures.empty()) {
    // gate and up side by side in one stack: twice the rank, and alpha so that the scaling stays.
    config["rank_pattern"] = {{R"(experts\.gate_up_proj)", 2 * rank}};
    config["alpha_pattern"] = {{R"(experts\.gate_up_proj)", 2 * alpha}};
  }
  save_safetensors(dir / "adapter_model.safetensors", adapter_tensors(model, targets.mixtures));
  core::write_file_atomic(dir / "adapter_config.json", config.dump(2) + "\n");
}

at::Tensor LowRank::difference() const {
  return at::mm(b.to(at::kFloat), a.to(at::kFloat)).mul_(scaling);
}

std::map<std::string, LowRank> read_lora(const Model& model, const fs::path& dir) {
  return AdapterReader(model, dir).read();
}

std::vector<Parameter> load_lora(Model& model, const fs::path& dir) {
  std::map<std::string, LowRank> differences = read_lora(model, dir);
  std::vector<AdapterValues> values;
  for (Linear* linear : adaptable_linears(model)) {
    const auto found = differences.find(linear->name + std::string(kWeight));
    if (found == differences.end()) continue;
    const LowRank& d = found->second;
    values.push_back({linear, d.a, d.b, d.scaling});
    differences.erase(found);
  }
  if (!differences.empty()) {
    core::throw_user(
        "{}: the adapter changes '{}', which is none of the model's linears; `ponder model convert "
        "IN OUT "
        "--adapter DIR` merges such an adapter",
        dir.string(), differences.begin()->first);
  }
  return attach_adapters(model, values);
}

}  // namespace ponder::policy
