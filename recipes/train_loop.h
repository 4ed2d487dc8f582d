// The loop over a stage's steps: evaluations, metrics, checkpoints, stopping. Every worker runs it;
// rank 0 writes down what comes of it.
#pragma once

#include <cstdint>
#include <cstdio>
#include <future>
#include <string>

#include "core/metrics.h"
#include "core/progress.h"
#include "core/timer.h"
#include "distributed/group.h"
#include "recipes/best_step.h"
#include "recipes/options.h"
#include "recipes/run_folder.h"
#include "recipes/stage.h"

namespace ponder::recipes {

// A run's folder and its console, while the loop runs.
class Recorder {
 public:
  // Of a run that has done `resumed` steps and goes on to `last`. REQUIRES: all that is referred to
  // outlives it.
  Recorder(const SaveOptions& save, RunFolder& folder, int64_t resumed, int64_t last,
           std::FILE* out);

  // Where a step (or, at step 0, the evaluation of the start) writes to.
  StepContext context(int64_t step);
  std::filesystem::path evaluation_file(int64_t step) const;
  Say say();

  void start(const Metrics& metrics);  // the evaluation before the first step
  // Returns whether the step is the best so far by the recipe's metric.
  bool step(int64_t step, const Metrics& metrics, core::StepLine line);

  // The checkpoint is written while the next step samples: no weight changes till wait_for_save().
  void save(int64_t step, WriteCheckpoint write);
  void wait_for_save();
  double save_seconds() const { return save_seconds_; }  // of the last wait_for_save()

 private:
  const SaveOptions& save_;
  RunFolder& folder_;
  int64_t first_, last_;
  core::MetricsLog metrics_;
  BestStep best_;
  core::Progress progress_;
  core::Stopwatch watch_;
  std::string step_text_;
  double save_seconds_ = 0;
  std::future<void> saving_;  // its destructor waits
};

struct LoopOptions {
  int64_t resumed = 0;     // steps that are done
  int64_t last = 0;        // the step to end after
  int64_t eval_steps = 1;  // an evaluation every so many steps
  int64_t save_steps = 1;  // a checkpoint every so many steps
};

struct LoopEnd {
  int64_t step = 0;     // the last that was done
  int stop_signal = 0;  // that some worker got; 0: none
};

// Runs the steps that are left. A signal that any worker gets ends the loop on all after the step,
// saved. `recorder`: rank 0's; null elsewhere.
LoopEnd run_loop(Stage& stage, distributed::Group& group, const LoopOptions& options,
                 Recorder* recorder);

}  // namespace ponder::recipes
