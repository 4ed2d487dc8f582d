// How a rollout is cut into updates, in numbers: checked before anything is loaded, printed at the
// start of a run.
#pragma once

#include <cstdint>
#include <string>

#include "recipes/options.h"

namespace ponder::recipes {

// Throws UserError, with the nearest right values, where the numbers do not go together:
// mini-batches that are not equal, groups without a baseline, more prompts a step than the dataset
// has
// (`num_prompts`; 0: no end).
void check_batch_arithmetic(const GrpoRecipe& recipe, int64_t num_prompts);

// "a step: 16 prompts x 16 completions = 256 sequences; 2 passes x 1 mini-batch of 256 = 2 updates;
// 40 steps: 80 updates, 640 prompts, 10,240 completions of at most 80 tokens"
std::string batch_arithmetic(const GrpoRecipe& recipe, int64_t num_prompts);

// What each worker samples and trains of it: "4 workers: 4 prompts x 16 completions = 64 sequences
// each". Where they get unequal shares, the nearest numbers that would be equal. Empty for one.
std::string worker_shares(const GrpoRecipe& recipe, int workers);

}  // namespace ponder::recipes
