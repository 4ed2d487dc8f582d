// What a recipe of the stage grpo cannot ask for together.
#pragma once

#include "recipes/options.h"

namespace ponder::recipes {

// Throws UserError that names the keys and the remedy. (What depends on the data or the model is
// checked where these are read.)
void check_grpo_recipe(const GrpoRecipe& recipe);

}  // namespace ponder::recipes
