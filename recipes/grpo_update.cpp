#include "recipes/grpo_update.h"

#include <algorithm>

#include <ATen/ATen.h>

#include "core/error.h"
#include "recipes/batch_logprobs.h"

namespace ponder::recipes {
namespace {

// Updates in a row that may be skipped for a gradient that is not finite.
constexpr int64_t kSkippedMax = 3;

}  // namespace

GrpoUpdate::GrpoUpdate(const GrpoRecipe& recipe, policy::Model& model, policy::AdamW& optimizer)
    : recipe_(recipe), model_(model), optimizer_(optimizer) {}

data::Json GrpoUpdate::state() const {
  return {{"policy_version", policy_version_}, {"skipped_in_a_row", skipped_in_a_row_}};
}

void GrpoUpdate::restore(const data::Json& state) {
  policy_version_ = state.at("policy_version").get<int64_t>();
  skipped_in_a_row_ = state.at("skipped_in_a_row").get<int64_t>();
}

Metrics GrpoUpdate::run(int64_t step, const grpo::TrainBatch& batch) {
  const GrpoOptions& o = recipe_.grpo;
  const int64_t updates = o.num_iterations * o.num_mini_batches;
  Metrics metrics;
  std::vector<grpo::MetricParts> parts;
  double loss = 0, grad_norm = 0, learning_rate = 0, skipped = 0;
  int64_t index = (step - 1) * updates;
  for (int64_t iteration = 0; iteration < o.num_iterations; ++iteration) {
    for (const grpo::TrainBatch& mini : grpo::split_sequences(batch, o.num_mini_batches)) {
      learning_rate = policy::learning_rate_at(recipe_.optimizer, index, o.max_steps * updates);
      const bool first = index == (step - 1) * updates;
      grpo::Normalizer normalizer = grpo::normalizer_of(mini);
      normalizer.rollout_tokens =
          static_cast<double>(batch.num_loss_tokens) / static_cast<double>(o.num_mini_batches);
      loss += accumulate(mini, normalizer, parts, first ? &metrics : nullptr) /
              static_cast<double>(updates);
      const policy::AdamW::StepResult result = optimizer_.step(learning_rate);
      grad_norm += result.grad_norm / static_cast<double>(updates);
      note_update(result.applied, step);
      skipped += result.applied ? 0 : 1;
      ++index;
    }
  }
  const auto values = grpo::metric_values(grpo::merge_metrics(parts));
  metrics.insert(values.begin(), values.end());
  metrics["loss"] = loss;
  metrics["grad_norm"] = grad_norm;
  metrics["learning_rate"] = learning_rate;
  metrics["skipped_updates"] = skipped;
  return metrics;
}

// Adds the mini-batch's gradients to the parameters, micro-batch by micro-batch; returns its loss.
// For the first mini-batch of a rollout, whose policy is the sampler's, the two's log-probabilities
// are compared in `metrics`.
double GrpoUpdate::accumulate(const grpo::TrainBatch& mini, const grpo::Normalizer& normalizer,
                              std::vector<grpo::MetricParts>& parts, Metrics* metrics) {
  double loss = 0, difference_sum = 0, difference_max = 0;
  for (const grpo::TrainBatch& micro : grpo::split(mini, recipe_.grpo.train_tokens_max)) {
    if (micro.num_loss_tokens == 0) continue;
    const policy::TokenLogprobs now = batch_logprobs(model_, micro, recipe_.grpo.temperature);
    grpo::LossInputs inputs = grpo::loss_inputs(micro, normalizer, recipe_.grpo.loss);
    inputs.logprobs = now.logprobs;
    inputs.entropies = now.entropies;
    grpo::LossResult result = grpo::policy_loss(inputs, recipe_.grpo.loss);
    result.loss.backward();
    loss += result.loss.item<double>();
    parts.push_back(std::move(result.parts));
    if (metrics == nullptr) continue;
    const at::Tensor difference = (now.logprobs.detach() - inputs.old_logprobs).abs();
    difference_sum += difference.sum().item<double>();
    difference_max = std::max(difference_max, difference.max().item<double>());
  }
  if (metrics != nullptr) {
    (*metrics)["sampling/sampling_logp_difference/mean"] =
        difference_sum / std::max<double>(1, static_cast<double>(mini.num_loss_tokens));
    (*metrics)["sampling/sampling_logp_difference/max"] = difference_max;
  }
  return loss;
}

void GrpoUpdate::note_update(bool applied, int64_t step) {
  skipped_in_a_row_ = applied ? 0 : skipped_in_a_row_ + 1;
  if (applied) ++policy_version_;
  if (skipped_in_a_row_ >= kSkippedMax) {
    core::throw_run(
        "step {}: {} updates in a row had a gradient that is not finite: lower "
        "optimizer.learning_rate and start anew with another --run",
        step, skipped_in_a_row_);
  }
}

}  // namespace ponder::recipes
