// An update that failed, on disk: its sequences, the weights it started from and the recipe, so
// that it can be made again elsewhere and looked into.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>

#include "grpo/batch.h"
#include "grpo/loss.h"
#include "policy/model.h"
#include "recipes/options.h"

namespace ponder::recipes {

// Whether what sampled can differ from the trainer by more than float32 rounding (1e-5): bfloat16,
// a GPU, a server, older weights.
bool sampler_differs(const GrpoRecipe& recipe);

// The loss as the stage takes it: dr_grpo's constant from [grpo], no KL where that is in the
// reward, no correction of a sampler that does not differ.
grpo::LossOptions loss_options(const GrpoRecipe& recipe);

struct FailedUpdate {
  int64_t step = 0;
  int64_t update = 0;       // from 0, over the whole run
  double loss = 0;          // maybe not finite
  double grad_norm = 0;     // maybe not finite; 0 where the loss was not and no norm was taken
  double entropy_coef = 0;  // as applied
  grpo::Normalizer normalizer;
  const grpo::TrainBatch& batch;
};

// Writes `dumps`/STEP-UPDATE: recipe.toml, a Hugging Face folder with the weights as the forward
// pass took them (adapters merged), batch.safetensors and dump.json. Returns the folder. Throws
// RunError where it cannot be written.
std::filesystem::path write_dump(const std::filesystem::path& dumps, const GrpoRecipe& recipe,
                                 const policy::Model& model, const FailedUpdate& update);

// Makes the update's loss and gradient again from such a folder and prints, micro-batch by
// micro-batch, what is not finite: log-probs by sequence, the loss, the first parameters in the
// order of the model. Returns true when everything is finite this time. Throws UserError for a
// folder that is no dump.
bool replay_dump(const std::filesystem::path& folder, std::FILE* out);

}  // namespace ponder::recipes
