// LoRA (arXiv:2106.09685): the model's weights stay as they are, a low-rank difference beside each
// chosen linear is trained. Names and defaults are PEFT's and TRL's; dropout is not offered.
// Adapters as files: policy/peft_folder.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/recipe.h"
#include "policy/model.h"

namespace ponder::policy {

struct LoraOptions {
  bool use_peft = false;   // train adapters instead of the weights
  int64_t lora_r = 16;     // rank
  double lora_alpha = 32;  // the difference is multiplied by lora_alpha / lora_r
  // As PEFT matches target_modules: "all-linear", or names of linears or their ends from a dot on
  // (q_proj, experts.3.up_proj, model.layers.0.mlp.down_proj). Every linear of every layer can be
  // meant, routed experts and modules for multi-token prediction too; so can an lm_head of its own,
  // by its name alone ("all-linear" leaves it out, as PEFT does). Router and embedding cannot.
  std::vector<std::string> lora_target_modules = {"all-linear"};
};
void bind(core::Binder& b, LoraOptions& options);

// What an adapter can stand beside: every linear of every layer, and an lm_head that is not tied.
std::vector<Linear*> adaptable_linears(Model& model);

// Freezes the model and puts an adapter beside each linear that is meant: a uniform within
// in^-0.5 (PEFT's initialisation), a function of seed and name alone, b zero. Adapters have the
// model's dtype. Returns their parameters, named NAME.lora_A.weight and NAME.lora_B.weight. Throws
// UserError for a target that no linear bears.
std::vector<Parameter> add_lora(Model& model, const LoraOptions& options, uint64_t seed);

// An adapter's values, a [r, in] and b [out, r], and the linear of the model it stands beside.
struct AdapterValues {
  Linear* linear = nullptr;
  at::Tensor a, b;
  double scaling = 1;
};

// The same with values that are there: copies of them in the model's dtype.
std::vector<Parameter> attach_adapters(Model& model, const std::vector<AdapterValues>& values);

// Brings the merged matrices, with which the model samples and is saved, up to date. To be called
// when adapters have changed; nothing to do for a model without.
void refresh_lora(const Model& model);

}  // namespace ponder::policy
