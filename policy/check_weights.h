// Whether a folder's tensors are those that its config.json describes, without loading them.
#pragma once

#include "policy/config.h"
#include "policy/safetensors.h"

namespace ponder::policy {

// Throws UserError naming folder and tensor where one is missing, is of no part of the model, or
// has another shape or no floating-point dtype: what Model::load refuses before it reads values. A
// reward model (score.weight in place of lm_head) is checked as load_body takes it.
void check_weights(const WeightFolder& folder, ModelConfig config);

}  // namespace ponder::policy
