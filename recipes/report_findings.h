// What a run's metrics suggest that a person should look at, in words: signs that the policy games
// its rewards, rewards that fail. A finding is no verdict. Knows no HTML.
#pragma once

#include <string>
#include <vector>

#include "recipes/run_data.h"

namespace ponder::recipes {

// One sentence each, the most serious first; none where nothing stands out:
//  - the reward rose while the held-out accuracy fell since its best evaluation, by more than two
//    standard errors of 512 problems and at least 3 points;
//  - in the last quarter of the steps more than 5 % of the completions carry a sign of
//  rewards/hacks.h,
//    or more than 20 % of the completions above their group's mean do;
//  - more than 5 % of the completions could not be judged there;
//  - a reward that was 0 in each of the first 10 steps and still is.
std::vector<std::string> findings(const RunData& run);

}  // namespace ponder::recipes
