// One-step-off asynchronous sampling: while step t trains, the rollout of step t + 1 is sampled on
// another thread by a copy of the weights that step t began with. The completions are then at most
// one rollout's updates old; the loss corrects for it (importance sampling). Deterministic: what is
// sampled depends on no timing.
#pragma once

#include <filesystem>
#include <future>
#include <optional>

#include "recipes/grpo_rollout.h"
#include "recipes/trainee.h"

namespace ponder::recipes {

class OneStepOff {
 public:
  // REQUIRES: all that is referred to outlives it.
  OneStepOff(const GrpoRecipe& recipe, PromptSource& prompts, const Trainee& trainee,
             const distributed::Group& group);
  ~OneStepOff();

  // The rollout of step `step`: what was sampled in the background, or, where there is nothing (the
  // run's first step), sampled now; that may be cut off by a stop signal.
  Rollout take(int64_t step, int64_t policy_version, const Say& say);

  // Copies the weights and starts the rollout of step `step`. REQUIRES: nothing is under way.
  void start(int64_t step, int64_t policy_version);

  // Waits for the rollout under way: after it, state() and pending() hold all of it.
  void wait();

  data::Json state() const { return rollout_.state(); }
  const std::vector<OpenGroup>& paused() const { return rollout_.paused(); }
  const std::optional<Rollout>& pending() const { return pending_; }
  void restore(const data::Json& state, std::vector<OpenGroup> paused,
               std::optional<Rollout> pending);

 private:
  const policy::Model& trained_;
  policy::Model sampler_;
  rollout::Engine engine_;
  distributed::Group group_;  // its own: it samples beside the training's collectives
  GrpoRollout rollout_;
  std::optional<Rollout> pending_;
  std::future<Rollout> under_way_;
};

}  // namespace ponder::recipes
