// Algorithms by name: the first key of a GRPO recipe. Each sets what its paper sets; every key that
// the recipe gives itself counts before it. One line of the table an algorithm.
#pragma once

#include <string>
#include <vector>

#include "recipes/grpo_options.h"

namespace ponder::recipes {

// "" (TRL's defaults), the losses of grpo::loss_types() with their papers' options, and those that
// are more than a loss: dapo, r1, rloo, reinforce_plus_plus, reinforce_plus_plus_baseline.
std::vector<std::string> algorithm_names();

// Sets the options of the algorithm's paper and leaves the others. UserError with the nearest name
// for an unknown one.
void set_algorithm(GrpoOptions& options, const std::string& name);

}  // namespace ponder::recipes
