// What a person reads when a run ends: the held-out figures before and after, and one problem
// answered by both.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/metrics.h"

namespace ponder::recipes {

// A table of eval/* at the first and at the last evaluation; "" where there were not two.
std::string before_after_table(const std::vector<core::StepRecord>& records);

// One held-out problem with the completions of two evaluation files (as evaluate.h writes them):
// the first that the earlier policy got wrong and the later right, else the first. "" where a file
// is missing.
std::string side_by_side(const std::filesystem::path& before, const std::filesystem::path& after);

}  // namespace ponder::recipes
