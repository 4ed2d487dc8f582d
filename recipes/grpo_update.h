// The second half of a GRPO step: a packed batch -> passes, mini-batches and micro-batches ->
// updates of the policy. Knows no prompts, no rewards and no sampler.
#pragma once

#include <cstdint>
#include <vector>

#include "grpo/batch.h"
#include "grpo/loss.h"
#include "policy/model.h"
#include "policy/optimizer.h"
#include "recipes/options.h"
#include "recipes/stage.h"

namespace ponder::recipes {

class GrpoUpdate {
 public:
  // REQUIRES: all that is referred to outlives it.
  GrpoUpdate(const GrpoRecipe& recipe, policy::Model& model, policy::AdamW& optimizer);

  // Makes the updates of step `step` from the rollout's batch; returns their metrics. Throws
  // RunError after three updates in a row whose gradient was not finite.
  Metrics run(int64_t step, const grpo::TrainBatch& batch);

  int64_t policy_version() const { return policy_version_; }  // optimizer updates so far
  data::Json state() const;
  void restore(const data::Json& state);

 private:
  double accumulate(const grpo::TrainBatch& mini, const grpo::Normalizer& normalizer,
                    std::vector<grpo::MetricParts>& parts, Metrics* metrics);
  void note_update(bool applied, int64_t step);

  const GrpoRecipe& recipe_;
  policy::Model& model_;
  policy::AdamW& optimizer_;
  int64_t policy_version_ = 0;
  int64_t skipped_in_a_row_ = 0;
};

}  // namespace ponder::recipes
