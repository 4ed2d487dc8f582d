// The second half of a GRPO step: a packed batch -> passes, mini-batches and micro-batches ->
// updates of the policy. Knows no prompts, no rewards and no sampler.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "distributed/group.h"
#include "grpo/batch.h"
#include "grpo/entropy.h"
#include "grpo/loss.h"
#include "policy/model.h"
#include "policy/optimizer.h"
#include "recipes/options.h"
#include "recipes/reference.h"
#include "recipes/stage.h"

namespace ponder::recipes {

class GrpoUpdate {
 public:
  // REQUIRES: all that is referred to outlives it; the optimizer is of the same group.
  GrpoUpdate(const GrpoRecipe& recipe, policy::Model& model, policy::AdamW& optimizer,
             Reference& reference, distributed::Group& group);

  // Makes the updates of step `step` from the rollout's batch; returns their metrics. An update
  // whose loss or gradient is not finite is left out, counted (skipped_updates) and written to a
  // folder in `dumps` from which it can be replayed (dump.h; no dump where `dumps` is empty).
  // Throws RunError that names it after three in a row. Workers share each mini-batch's sequences;
  // the batch and the metrics are the same on all.
  Metrics run(int64_t step, const grpo::TrainBatch& batch, const std::filesystem::path& dumps);

  int64_t policy_version() const { return policy_version_; }  // updates applied so far
  data::Json state() const;
  void restore(const data::Json& state);

 private:
  struct Update {
    double loss = 0;
    double grad_norm = 0;
    bool applied = false;
    std::vector<grpo::MetricParts> parts;           // one a micro-batch
    double difference_sum = 0, difference_max = 0;  // |log pi - log pi_old|
  };
  // What one update knows beside its sequences.
  struct Place {
    int64_t step = 0;
    int64_t update = 0;  // from 0, over the whole run
    double learning_rate = 0;
  };
  Update update(const grpo::TrainBatch& mini, grpo::Normalizer normalizer, const Place& place,
                const std::filesystem::path& dumps);
  void accumulate(const std::vector<grpo::TrainBatch>& micros, const grpo::Normalizer& normalizer,
                  const grpo::LossOptions& loss, int64_t sequences, Update& update);
  void merge_workers(Update& update);
  void note_skipped(const Place& place, const std::filesystem::path& dump);

  const GrpoRecipe& recipe_;
  policy::Model& model_;
  policy::AdamW& optimizer_;
  Reference& reference_;
  distributed::Group& group_;
  grpo::AdaptiveEntropy entropy_;
  int64_t policy_version_ = 0;
  int64_t skipped_in_a_row_ = 0;
};

}  // namespace ponder::recipes
