// The first half of a GRPO step: prompts -> groups of completions, scored while others still
// sample.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "data/types.h"
#include "recipes/options.h"
#include "recipes/prompts.h"
#include "recipes/stage.h"
#include "rewards/scorer.h"
#include "rollout/engine.h"

namespace ponder::recipes {

class GrpoRollout {
 public:
  // REQUIRES: all that is referred to outlives it.
  GrpoRollout(const GrpoOptions& options, int64_t seed, PromptSource& prompts,
              rollout::Engine& engine, const rewards::Scorer& scorer);

  // The scored groups of step `step`, sampled by the engine's weights, which are version
  // `policy_version`. Adds to seconds["sample"] and seconds["score"].
  std::vector<data::ScoredGroup> run(int64_t step, int64_t policy_version,
                                     std::map<std::string, double>& seconds, const Say& say);

 private:
  const GrpoOptions& options_;
  int64_t seed_;
  PromptSource& prompts_;
  rollout::Engine& engine_;
  rewards::ScoringPool scoring_;
};

}  // namespace ponder::recipes
