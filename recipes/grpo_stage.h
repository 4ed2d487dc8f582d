// Stage "grpo": prompts -> groups -> scores -> advantages -> packed batch -> updates, one method an
// arrow. Owns its policy, its engine and its scorer.
#pragma once

#include <memory>

#include "recipes/options.h"
#include "recipes/stage.h"

namespace ponder::recipes {

// Loads model, tokenizer and data. Throws UserError for whatever of them cannot be used.
std::unique_ptr<Stage> make_grpo_stage(const GrpoRecipe& recipe);

}  // namespace ponder::recipes
