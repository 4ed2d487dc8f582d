#include "policy/lora.h"

#include <cmath>
#include <set>

#include <ATen/ATen.h>

#include "core/error.h"
#include "core/file.h"
#include "core/random.h"
#include "core/spelling.h"
#include "policy/safetensors.h"

namespace ponder::policy {
namespace {

constexpr const char* kAll = "all-linear";

std::string last_part(const std::string& name) {
  return name.substr(name.rfind('.') + 1);
}

// Linears that exist under the same name in transformers' model.
bool can_be_target(const std::string& name, const ModelConfig& config) {
  if (name.find(".mlp.experts.") != std::string::npos) return false;
  const std::string prefix = "model.layers.";
  return name.starts_with(prefix) &&
         std::atoll(name.c_str() + prefix.size()) < config.num_hidden_layers;
}

at::Tensor initial_a(const Linear& linear, int64_t rank, uint64_t seed) {
  core::Rng rng(seed, core::stable_hash("lora:" + linear.name));
  const int64_t in = linear.weight.size(1);
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  const at::Tensor values = at::empty({rank, in}, at::kFloat);
  float* data = values.data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i)
    data[i] = static_cast<float>(bound * (2 * rng.uniform() - 1));
  return values.to(linear.weight.scalar_type());
}

// PEFT 0.21 takes every target module of a DeepSeek model whose name ends so for a part of
// transformers' fused experts, dense and shared MLPs too. Named as a target parameter, such a
// linear's weight gets an adapter of the same shape under the same name.
bool taken_for_experts(const std::string& name, const ModelConfig& config) {
  if (!config.model_type.starts_with("deepseek")) return false;
  const std::string last = last_part(name);
  return last == "gate_proj" || last == "up_proj" || last == "down_proj";
}

void check_targets(const std::vector<std::string>& wanted, const std::set<std::string>& known) {
  for (const std::string& target : wanted) {
    if (target == kAll || known.contains(target)) continue;
    std::vector<std::string> names(known.begin(), known.end());
    names.emplace_back(kAll);
    core::throw_user("lora_target_modules: the model has no linear '{}'{}", target,
                     core::suggestion(target, names));
  }
}

}  // namespace

void bind(core::Binder& b, LoraOptions& o) {
  b.field("use_peft", o.use_peft, "train LoRA adapters instead of the weights");
  b.field("lora_r", o.lora_r, "rank of the adapters", {.low = 1, .high = 65536});
  b.field("lora_alpha", o.lora_alpha, "the adapters are scaled by lora_alpha / lora_r", {.low = 0});
  b.field("lora_target_modules", o.lora_target_modules,
          "last parts of the linears' names (q_proj, ...), or all-linear");
}

std::vector<Parameter> add_lora(Model& model, const LoraOptions& options, uint64_t seed) {
  const std::set<std::string> wanted(options.lora_target_modules.begin(),
                                     options.lora_target_modules.end());
  std::set<std::string> known;
  model.for_each_linear([&](const Linear& linear) {
    if (can_be_target(linear.name, model.config())) known.insert(last_part(linear.name));
  });
  check_targets(options.lora_target_modules, known);
  for (const Parameter& p : model.parameters()) at::Tensor(p.tensor).requires_grad_(false);
  std::vector<Parameter> trained;
  model.for_each_linear([&](Linear& linear) {
    if (!can_be_target(linear.name, model.config())) return;
    if (!wanted.contains(kAll) && !wanted.contains(last_part(linear.name))) return;
    auto adapter = std::make_shared<Adapter>();
    adapter->name = linear.name;
    adapter->base = linear.weight;
    adapter->a = initial_a(linear, options.lora_r, seed).requires_grad_();
    adapter->b = at::zeros({linear.weight.size(0), options.lora_r},
                           linear.weight.options().requires_grad(false))
                     .requires_grad_();
    adapter->scaling = options.lora_alpha / static_cast<double>(options.lora_r);
    linear.adapter = adapter;
    model.add_adapter(adapter);
    trained.push_back({linear.name + ".lora_A.weight", adapter->a});
    trained.push_back({linear.name + ".lora_B.weight", adapter->b});
  });
  refresh_lora(model);
  return trained;
}

void refresh_lora(const Model& model) {
  const at::NoGradGuard no_grad;
  for (const auto& adapter : model.adapters()) {
    // The product in float32, rounded once.
    const at::Tensor difference =
        at::mm(adapter->b.to(at::kFloat), adapter->a.to(at::kFloat)).mul_(adapter->scaling);
    const at::Tensor sum =
        at::add(adapter->base.to(at::kFloat), difference).to(adapter->base.scalar_type());
    if (adapter->merged.defined())
      adapter->merged.copy_(sum);
    else
      adapter->merged = sum.clone();
  }
}

void save_lora(const Model& model, const std::filesystem::path& base,
               const std::filesystem::path& dir) {
  PONDER_CHECK(!model.adapters().empty(), "[save_lora] the model has no adapters");
  NamedTensors tensors;
  std::set<std::string> targets, parameters;
  for (const auto& adapter : model.adapters()) {
    const std::string prefix = "base_model.model." + adapter->name;
    tensors.emplace_back(prefix + ".lora_A.weight", adapter->a.detach());
    tensors.emplace_back(prefix + ".lora_B.weight", adapter->b.detach());
    // Whole names: by a last part alone PEFT would also look for adapters of routed experts.
    if (taken_for_experts(adapter->name, model.config()))
      parameters.insert(adapter->name + ".weight");
    else
      targets.insert(adapter->name);
  }
  const Adapter& first = *model.adapters().front();
  const int64_t rank = first.a.size(0);
  const nlohmann::json config = {{"peft_type", "LORA"},
                                 {"task_type", "CAUSAL_LM"},
                                 {"base_model_name_or_path", base.string()},
                                 {"r", rank},
                                 {"lora_alpha", first.scaling * static_cast<double>(rank)},
                                 {"lora_dropout", 0.0},
                                 {"target_modules", targets},
                                 {"target_parameters", parameters},
                                 {"bias", "none"},
                                 {"fan_in_fan_out", false},
                                 {"init_lora_weights", true},
                                 {"inference_mode", true},
                                 {"modules_to_save", nullptr}};
  save_safetensors(dir / "adapter_model.safetensors", tensors);
  core::write_file_atomic(dir / "adapter_config.json", config.dump(2) + "\n");
}

}  // namespace ponder::policy
