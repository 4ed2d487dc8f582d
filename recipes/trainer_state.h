// The part of a checkpoint that is no Hugging Face folder: trainer.safetensors (moments, master
// weights) and trainer.json (counters) beside the weights.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "policy/model.h"
#include "policy/optimizer.h"

namespace ponder::recipes {

// Weights as they are in memory (float32, buffers too, "weight." + name) and the optimizer's state.
void save_trainer_state(const std::filesystem::path& checkpoint, const policy::Model& model,
                        const policy::AdamW& optimizer, const nlohmann::json& counters);

// Puts them back in place and returns the counters. Throws UserError where the checkpoint is
// damaged or does not fit.
nlohmann::json restore_trainer_state(const std::filesystem::path& checkpoint,
                                     const policy::Model& model, const policy::AdamW& optimizer);

}  // namespace ponder::recipes
