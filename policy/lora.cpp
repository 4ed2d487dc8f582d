#include "policy/lora.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <ATen/ATen.h>

#include "core/error.h"
#include "core/random.h"
#include "core/spelling.h"

namespace ponder::policy {
namespace {

constexpr const char* kAll = "all-linear";

std::string last_part(const std::string& name) {
  return name.substr(name.rfind('.') + 1);
}

bool is_meant(const std::string& name, const std::string& target) {
  if (target == kAll) return name != "lm_head";
  return name == target || name.ends_with("." + target);
}

at::Tensor initial_a(const Linear& linear, int64_t rank, uint64_t seed) {
  core::Rng rng(seed, core::stable_hash("lora:" + linear.name));
  const int64_t in = linear.weight.size(1);
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  const at::Tensor values = at::empty({rank, in}, at::kFloat);
  float* data = values.data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i)
    data[i] = static_cast<float>(bound * (2 * rng.uniform() - 1));
  return values;
}

void check_targets(const std::vector<std::string>& targets, const std::vector<std::string>& names) {
  if (targets.empty()) core::throw_user("lora_target_modules: expected a name, or {}", kAll);
  for (const std::string& target : targets) {
    const auto meant = [&](const std::string& name) { return is_meant(name, target); };
    if (std::any_of(names.begin(), names.end(), meant)) continue;
    std::set<std::string> ends = {kAll};
    for (const std::string& name : names) ends.insert(last_part(name));
    std::vector<std::string> known(ends.begin(), ends.end());
    // A target with dots is compared with whole names; all of them would be no list to read.
    if (target.find('.') != std::string::npos && !core::nearest_name(target, names).empty())
      known = {core::nearest_name(target, names)};
    core::throw_user("lora_target_modules: the model has no linear '{}'{}", target,
                     core::suggestion(target, known));
  }
}

}  // namespace

void bind(core::Binder& b, LoraOptions& o) {
  b.field("use_peft", o.use_peft, "train LoRA adapters instead of the weights");
  b.field("lora_r", o.lora_r, "rank of the adapters", {.low = 1, .high = 65536});
  b.field("lora_alpha", o.lora_alpha, "the adapters are scaled by lora_alpha / lora_r", {.low = 0});
  b.field("lora_target_modules", o.lora_target_modules,
          "all-linear, or names of linears or their ends (q_proj, experts.3.up_proj, ...)");
}

std::vector<Linear*> adaptable_linears(Model& model) {
  std::vector<Linear*> out;
  model.for_each_linear([&](Linear& linear) { out.push_back(&linear); });
  if (Linear* head = model.own_lm_head()) out.push_back(head);
  return out;
}

std::vector<Parameter> add_lora(Model& model, const LoraOptions& options, uint64_t seed) {
  const std::vector<std::string>& targets = options.lora_target_modules;
  std::vector<std::string> names;
  const std::vector<Linear*> linears = adaptable_linears(model);
  for (const Linear* linear : linears) names.push_back(linear->name);
  check_targets(targets, names);
  std::vector<AdapterValues> values;
  for (Linear* linear : linears) {
    const auto means = [&](const std::string& target) { return is_meant(linear->name, target); };
    if (std::none_of(targets.begin(), targets.end(), means)) continue;
    values.push_back({.linear = linear,
                      .a = initial_a(*linear, options.lora_r, seed),
                      .b = at::zeros({linear->weight.size(0), options.lora_r}),
                      .scaling = options.lora_alpha / static_cast<double>(options.lora_r)});
  }
  return attach_adapters(model, values);
}

std::vector<Parameter> attach_adapters(Model& model, const std::vector<AdapterValues>& values) {
  for (const Parameter& p : model.parameters()) at::Tensor(p.tensor).requires_grad_(false);
  std::vector<Parameter> trained;
  for (const AdapterValues& value : values) {
    Linear& linear = *value.linear;
    const auto own = [&](const at::Tensor& x) {
      return x
          .to(linear.weight.options().requires_grad(false), /*non_blocking=*/false,
              /*copy=*/true, at::MemoryFormat::Contiguous)
          .requires_grad_();
    };
    linear.adapter = std::make_shared<Adapter>(Adapter{.name = linear.name,
                                                       .base = linear.weight,
                                                       .a = own(value.a),
                                                       .b = own(value.b),
                                                       .scaling = value.scaling,
                                                       .merged = {}});
    model.add_adapter(linear.adapter);
    trained.push_back({linear.name + ".lora_A.weight", linear.adapter->a});
    trained.push_back({linear.name + ".lora_B.weight", linear.adapter->b});
  }
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

}  // namespace ponder::policy
