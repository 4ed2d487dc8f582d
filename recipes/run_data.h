// What a run's folder holds, read back for reports: the recipe as text, every step's metrics, a
// sample of the completions. Knows nothing of how it is shown, and nothing of models.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/metrics.h"

namespace ponder::recipes {

// The groups of one step, each as its line in completions/NNNNNN.jsonl:
//   {"prompt_id", "prompt", "answer", "completions": [{"text", "finish_reason", "num_tokens",
//   "reward", "parts",
//    "status", "reason", "advantage"}, ...]}
// "prompt", "completions" and each "text" are there and well typed, the rest is absent, null or
// well typed.
struct StepCompletions {
  int64_t step = 0;
  std::vector<nlohmann::json> groups;
};

struct RunData {
  std::string name;                          // the folder's name
  std::string recipe;                        // recipe.toml as it stands; "" where there is none
  std::vector<core::StepRecord> steps;       // metrics.jsonl, in order
  std::vector<StepCompletions> completions;  // in order of steps; of long runs a selection
  size_t num_completion_steps = 0;           // the files in completions/, read or not
  size_t num_groups_left_out = 0;            // of the steps in `completions`
};

// Reads a run's folder, finished or still running (a line cut off at the end of a file is left
// out). Of the completions about `completion_bytes_max` bytes are read, steps spread evenly with
// the first and the last among them. Throws UserError with file and line for a missing folder or
// metrics.jsonl and for any malformed line.
RunData load_run(const std::filesystem::path& run_dir,
                 size_t completion_bytes_max = size_t{6} << 20);

// The `key = value` lines of a recipe by dotted key, values as written. A reading for display only.
std::map<std::string, std::string> recipe_values(std::string_view recipe);

}  // namespace ponder::recipes
