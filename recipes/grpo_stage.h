// Stage "grpo": prompts -> groups -> scores -> advantages -> packed batch -> updates, one method an
// arrow. Owns its policy, its engine and its scorer.
#pragma once

#include <memory>

#include "distributed/group.h"
#include "recipes/options.h"
#include "recipes/stage.h"

namespace ponder::recipes {

// Loads model, tokenizer and data. `group` are the workers that train together; it outlives the
// stage. Throws UserError for whatever cannot be used.
std::unique_ptr<Stage> make_grpo_stage(const GrpoRecipe& recipe, distributed::Group& group);

}  // namespace ponder::recipes
