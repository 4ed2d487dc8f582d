// `ponder train`: a recipe, its run folder, and the loop that every stage goes through.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ponder::recipes {

struct TrainRequest {
  std::filesystem::path recipe;
  std::vector<std::string> overrides;  // key=value words
  std::filesystem::path run_dir;       // empty: runs/<the recipe's name>
  std::optional<int64_t>
      stop_at_step;  // --max-steps: end there as Ctrl-C would; the recipe's schedules do not change
  bool check_only = false;  // read everything, train nothing
  int check_workers = 1;    // for so many workers
  // Of several workers: how long one waits for the slowest.
  double timeout_s = 1800;
};

// Reads the recipe, and looks for the GPUs that it asks for, for `workers` on this machine. Throws
// UserError as train() would.
void check_recipe(const TrainRequest& request, int workers);

// Trains from the start, or goes on from the run folder's latest checkpoint: metrics are the same
// bits as an uninterrupted run's. Progress and the closing table go to `out`. Where a launcher has
// started several workers (distributed/launch.h) they train together: rank 0 writes and talks, the
// others' stdout and stderr become RUN/logs/rank-N.log. Returns 0 when the recipe's steps (or
// stop_at_step) are done, else the stop signal that ended them, with everything saved. Throws
// UserError, RunError.
int train(const TrainRequest& request, std::FILE* out);

// Makes a failed update again from its dump (dump.h) and says what of it is not finite. Returns
// true when everything is finite this time.
bool replay(const std::filesystem::path& dump, std::FILE* out);

}  // namespace ponder::recipes
