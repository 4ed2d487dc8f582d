// The HTML report of a run, or of several side by side: one file that needs no network, with the
// curves, the completions and the recipe. Knows what a run's folder holds, and nothing of how it
// came about. The page's look and behaviour are the files in recipes/report/, compiled in.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "recipes/run_data.h"

namespace ponder::recipes {

// The whole page. One run: curves, summary before and after, completions to browse, recipe.
// Several: curves overlaid with one legend entry a run, a final table, and where the recipes
// differ. Completions are untrusted: whatever they hold is shown as text. REQUIRES: runs is not
// empty.
std::string render_report(std::span<const RunData> runs);

// Renders the runs in `run_dirs` into `output`, atomically. Throws as load_run does, and RunError
// when the write fails.
void write_report(std::span<const std::filesystem::path> run_dirs,
                  const std::filesystem::path& output);

}  // namespace ponder::recipes
