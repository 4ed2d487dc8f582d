// The loop over a stage's steps: evaluations, metrics, checkpoints, stopping. Every worker runs it;
// rank 0 writes down what comes of it.
#pragma once

#include <cstdint>
#include <cstdio>
#include <future>
#include <optional>
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
  // The evaluation that a stop has put off: joins the metrics of the step that the run goes on
  // from.
  void make_up(const Metrics& evaluation);
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
  std::optional<core::MetricsLog> metrics_;
  BestStep best_;
  core::Progress progress_;
  core::Stopwatch watch_;
  std::string step_text_;
  double save_seconds_ = 0;
  std::future<void> saving_;  // its destructor waits
};

// Whether the last line of metrics.jsonl is that of step `resumed`, after which an evaluation is
// due that is not in it.
bool owes_evaluation(const std::filesystem::path& metrics_file, int64_t resumed);

struct LoopOptions {
  int64_t resumed = 0;     // steps that are done
  bool owed = false;       // the evaluation after the last of them was put off
  int64_t last = 0;        // the step to end after
  int64_t eval_steps = 1;  // an evaluation every so many steps
  int64_t save_steps = 1;  // a checkpoint every so many steps
};

struct LoopEnd {
  int64_t step = 0;     // the last that was done
  int stop_signal = 0;  // that some worker got; 0: none
};

// Runs the steps that are left. A signal that any worker gets ends the loop on all: sampling and
// evaluations are cut off, updates that have begun are finished, and the last finished step is
// saved. An evaluation that was due is made up for by the next start. `recorder`: rank 0's; null
// elsewhere.
LoopEnd run_loop(Stage& stage, distributed::Group& group, const LoopOptions& options,
                 Recorder* recorder);

}  // namespace ponder::recipes
