// The part of a checkpoint that is no Hugging Face folder: trainer.safetensors (master weights,
// moments) and trainer.json (counters and the like) beside the weights.
#pragma once

#include <filesystem>
#include <functional>

#include "data/types.h"
#include "policy/model.h"
#include "policy/optimizer.h"
#include "policy/safetensors.h"

namespace ponder::recipes {

// The live tensors of a model in training, by name: weights as they are in memory ("weight." +
// name, buffers and adapters too, but not what is frozen beside adapters) and the optimizer's
// state.
policy::NamedTensors trained_tensors(const policy::Model& model,
                                     const policy::NamedTensors& optimizer_state);

// Writes the tensors, the values, the numbers of threads and workers and the tensors' checksum.
void save_trainer_state(const std::filesystem::path& checkpoint,
                        const policy::NamedTensors& tensors, const data::Json& values, int workers);

// Puts the tensors back in place and hands the values to `read`, whose JSON errors become
// UserErrors. Warns on stderr where the number of threads or workers is another. Throws UserError
// where the checkpoint is damaged or does not fit.
void restore_trainer_state(const std::filesystem::path& checkpoint,
                           const policy::NamedTensors& tensors, int workers,
                           const std::function<void(const data::Json&)>& read);

}  // namespace ponder::recipes
