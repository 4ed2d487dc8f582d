// Which step of a run is the best so far, by a metric that the recipe names.
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>

#include "recipes/options.h"
#include "recipes/stage.h"

namespace ponder::recipes {

class BestStep {
 public:
  // Takes up a run from its metrics.jsonl, where there is one.
  BestStep(const SaveOptions& options, const std::filesystem::path& metrics_file);

  // Where the metric is there, finite and better than ever, `step` (above 0) becomes the best.
  void observe(int64_t step, const Metrics& metrics);
  int64_t step() const { return step_; }  // 0: none yet

  // For the error about a metric that no step has: the names that there are.
  void see_names(const Metrics& metrics);
  // Throws UserError, with the nearest name, where none that was seen is the recipe's.
  void check_name() const;

 private:
  const SaveOptions& options_;
  int64_t step_ = 0;
  double value_ = 0;
  std::set<std::string> names_;
};

}  // namespace ponder::recipes
