// LoRA (arXiv:2106.09685): the model's weights stay as they are, a low-rank difference beside each
// chosen linear is trained. Names and defaults are PEFT's and TRL's; dropout is not offered.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/recipe.h"
#include "policy/model.h"

namespace ponder::policy {

struct LoraOptions {
  bool use_peft = false;   // train adapters instead of the weights
  int64_t lora_r = 16;     // rank
  double lora_alpha = 32;  // the difference is multiplied by lora_alpha / lora_r
  // Last parts of the linears' names, or "all-linear". Routed experts and modules for multi-token
  // prediction are left out: transformers has no linears there that PEFT could attach to.
  std::vector<std::string> lora_target_modules = {"all-linear"};
};
void bind(core::Binder& b, LoraOptions& options);

// Freezes the model and puts an adapter beside each linear that is meant: a uniform within
// in^-0.5 (PEFT's initialisation), a function of seed and name alone, b zero. Adapters have the
// model's dtype. Returns their parameters, named NAME.lora_A.weight and NAME.lora_B.weight. Throws
// UserError for a target that no linear bears.
std::vector<Parameter> add_lora(Model& model, const LoraOptions& options, uint64_t seed);

// Brings the merged matrices, with which the model samples and is saved, up to date. To be called
// when adapters have changed; nothing to do for a model without.
void refresh_lora(const Model& model);

// Writes adapter_config.json and adapter_model.safetensors as PEFT does into the existing folder
// `dir`; `base` is the folder of the weights beside which the adapters were trained. REQUIRES: the
// model has adapters.
void save_lora(const Model& model, const std::filesystem::path& base,
               const std::filesystem::path& dir);

}  // namespace ponder::policy
