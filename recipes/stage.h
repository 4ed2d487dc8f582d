// A stage of training as the loop in train.h sees it: steps, evaluations, state. What it trains,
// and how, is its own.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "core/progress.h"

namespace ponder::recipes {

using Metrics = std::map<std::string, double>;

// Says what happens within a step ("sampling 120/256").
using Say = std::function<void(const std::string&)>;

// Writes the state that it was made from into an existing folder.
using WriteCheckpoint = std::function<void(const std::filesystem::path& folder)>;

// What the loop lends to a step. Of several workers only rank 0 writes: the others' paths are
// empty.
struct StepContext {
  std::filesystem::path completions_file = {};  // gets what a person may want to read later
  std::filesystem::path dumps_folder = {};      // gets what a failed update needs to be replayed
  Say say;
  // To be called before the weights first change: until then the checkpoint of the step before may
  // still be on its way to the disk.
  std::function<void()> before_update;
};

// Of several workers each has a stage of its own with the same state; all make the same calls in
// the same order.
class Stage {
 public:
  virtual ~Stage() = default;

  virtual int64_t num_steps() const = 0;

  // What the recipe's numbers come to, as lines for a person; may be empty.
  virtual std::string plan() const { return ""; }

  // A look at everything that step() would use, without training: prints what a person should see.
  // Throws UserError for what cannot work. The run is meant for `workers`; this one is alone.
  virtual void check([[maybe_unused]] int workers, std::FILE*) {}

  // Step `step` of num_steps(), from 1. A function of the state and of `step` alone. Metrics are
  // the same on all workers but for those that depend on the machine, which are this worker's.
  // None, and the state as it was: a stop signal to some worker has cut it off before its first
  // update.
  virtual std::optional<Metrics> step(int64_t step, const StepContext& context) = 0;

  // Held-out metrics of the state as it is; completions go to `evaluation_file`, where it is not
  // empty. Empty: the recipe wants none. None: cut off by a stop signal.
  virtual std::optional<Metrics> evaluate(int64_t step,
                                          const std::filesystem::path& evaluation_file,
                                          const Say& say) = 0;

  // Everything that step() depends on, as a Hugging Face folder with the trainer's state beside the
  // weights. Counters are taken now; weights are read when the result is called, which may be on
  // another thread, up to the next step's before_update(). Of several workers rank 0's is called.
  virtual WriteCheckpoint checkpoint(int64_t step) const = 0;
  virtual void restore(const std::filesystem::path& checkpoint) = 0;

  // The parts of the step line that this stage's metrics hold.
  virtual core::StepLine line(const Metrics& metrics) const = 0;
};

}  // namespace ponder::recipes
