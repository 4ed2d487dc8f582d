// The part of a checkpoint that is no Hugging Face folder: trainer.safetensors (moments, master
// weights) and trainer.json (counters) beside the weights.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "policy/model.h"
#include "policy/optimizer.h"

namespace ponder::recipes {

// What a stage counts, by name.
using Counters = std::map<std::string, int64_t>;

// Weights as they are in memory (float32, buffers too, "weight." + name), the optimizer's state,
// the counters and the number of threads.
void save_trainer_state(const std::filesystem::path& checkpoint, const policy::Model& model,
                        const policy::AdamW& optimizer, const Counters& counters);

// Puts them back in place; `counters` holds the names to read. Warns on stderr where the number of
// threads is another. Throws UserError where the checkpoint is damaged or does not fit.
void restore_trainer_state(const std::filesystem::path& checkpoint, const policy::Model& model,
                           const policy::AdamW& optimizer, Counters& counters);

}  // namespace ponder::recipes
