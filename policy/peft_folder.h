// LoRA adapters as PEFT's folders: adapter_config.json and adapter_model.safetensors, out and in.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "policy/model.h"

namespace ponder::policy {

// Writes the model's adapters into the existing folder `dir`; `base` is the folder of the weights
// beside which they were trained. Every linear stands under its own name, routed experts one by
// one: PEFT stacks those of transformers' fused mixtures itself when it loads them. It does so for
// whole mixtures alone; linears of an expert that were not trained have adapters of zeros there.
// Modules for multi-token prediction, which transformers' models do not have, are passed over by
// PEFT. REQUIRES: the model has adapters, all of one rank and scaling.
void save_lora(const Model& model, const std::filesystem::path& base,
               const std::filesystem::path& dir);

// A matrix's low-rank difference, scaling b a.
struct LowRank {
  at::Tensor a;  // [r, in], as the file has it
  at::Tensor b;  // [out, r]
  double scaling = 1;

  at::Tensor difference() const;  // float32 [out, in]
};

// The adapter in PEFT's folder `dir`, by the name of the weight that it changes
// ("model.layers.0.self_attn.q_proj.weight"). Takes what save_lora writes and what PEFT writes,
// stacked experts included, with rank and alpha patterns and rsLoRA. `model` says which matrices
// there are; it may be on the meta device. Throws UserError naming file and place: broken JSON, a
// PEFT method other than LoRA, a variant that is no plain sum (DoRA, biases, modules_to_save), a
// tensor that belongs to no matrix, is missing its partner, has a wrong shape or is not finite.
std::map<std::string, LowRank> read_lora(const Model& model, const std::filesystem::path& dir);

// Freezes the model and puts the adapter beside its linears, in the model's dtype, as add_lora
// does; returns their parameters. Also UserError where the adapter changes a matrix that is no
// linear of a layer.
std::vector<Parameter> load_lora(Model& model, const std::filesystem::path& dir);

}  // namespace ponder::policy
