#include "recipes/grpo_update.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <ATen/ATen.h>

#include "core/error.h"
#include "policy/lora.h"
#include "recipes/batch_logprobs.h"
#include "recipes/dump.h"
#include "recipes/workers.h"

namespace ponder::recipes {
namespace {

// Updates in a row that may be skipped for a loss or gradient that is not finite.
constexpr int64_t kSkippedMax = 3;

// Every worker's values, end to end; float32 [n], n of each its own.
at::Tensor gather_floats(distributed::Group& group, const at::Tensor& own) {
  if (group.size() == 1) return own;
  const auto* data = reinterpret_cast<const char*>(own.const_data_ptr<float>());
  std::vector<at::Tensor> all;
  for (const std::string& bytes : group.all_gather({data, own.nbytes()}, "entropies")) {
    at::Tensor values = at::empty({static_cast<int64_t>(bytes.size() / sizeof(float))});
    std::memcpy(values.data_ptr<float>(), bytes.data(), bytes.size());
    all.push_back(std::move(values));
  }
  return at::cat(all);
}

// The threshold of top_entropy_quantile is taken over the whole update, as TRL takes it over one
// forward pass of all ranks; where the update is cut into several passes they are made once more,
// without graph.
void add_entropy_threshold(const policy::Model& model, const std::vector<grpo::TrainBatch>& micros,
                           const GrpoOptions& options, distributed::Group& group,
                           grpo::Normalizer& normalizer) {
  if (options.loss.top_entropy_quantile >= 1) return;
  if (group.size() == 1 && micros.size() < 2) return;
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> parts;
  for (const grpo::TrainBatch& micro : micros) {
    if (micro.num_loss_tokens > 0)
      parts.push_back(batch_logprobs(model, micro, options.temperature).entropies);
  }
  const at::Tensor entropies =
      gather_floats(group, parts.empty() ? at::empty({0}) : at::cat(parts));
  if (entropies.numel() == 0) return;
  normalizer.entropy_threshold =
      grpo::entropy_threshold(entropies, options.loss.top_entropy_quantile);
  normalizer.entropy_tokens = grpo::count_at_least(entropies, *normalizer.entropy_threshold);
}

}  // namespace

GrpoUpdate::GrpoUpdate(const GrpoRecipe& recipe, policy::Model& model, policy::AdamW& optimizer,
                       Reference& reference, distributed::Group& group)
    : recipe_(recipe),
      model_(model),
      optimizer_(optimizer),
      reference_(reference),
      group_(group),
      entropy_{.target = recipe.grpo.loss.entropy_target,
               .delta = recipe.grpo.loss.entropy_coef_delta,
               .coef_min = recipe.grpo.loss.entropy_coef_min,
               .coef_max = recipe.grpo.loss.entropy_coef_max,
               .coef = recipe.grpo.loss.entropy_coef} {}

data::Json GrpoUpdate::state() const {
  // JSON has no infinity: an entropy that was never observed is null.
  const bool observed = std::isfinite(entropy_.last_entropy);
  return {{"policy_version", policy_version_},
          {"skipped_in_a_row", skipped_in_a_row_},
          {"entropy_coef", entropy_.coef},
          {"last_entropy", observed ? data::Json(entropy_.last_entropy) : data::Json()}};
}

void GrpoUpdate::restore(const data::Json& state) {
  policy_version_ = state.at("policy_version").get<int64_t>();
  skipped_in_a_row_ = state.at("skipped_in_a_row").get<int64_t>();
  entropy_.coef = state.at("entropy_coef").get<double>();
  if (!state.at("last_entropy").is_null())
    entropy_.last_entropy = state.at("last_entropy").get<double>();
}

Metrics GrpoUpdate::run(int64_t step, const grpo::TrainBatch& batch,
                        const std::filesystem::path& dumps) {
  const GrpoOptions& o = recipe_.grpo;
  const std::vector<grpo::TrainBatch> minis = grpo::split_at_random(
      batch, o.steps_per_generation, static_cast<uint64_t>(recipe_.seed + step));
  const int64_t updates = o.num_iterations * o.steps_per_generation;
  Metrics metrics;
  std::vector<Update> done;
  std::vector<grpo::MetricParts> parts;
  double applied = 0;
  for (int64_t iteration = 0; iteration < o.num_iterations; ++iteration) {
    for (size_t m = 0; m < minis.size(); ++m) {
      Place place{.step = step,
                  .update = (step - 1) * updates + iteration * o.steps_per_generation +
                            static_cast<int64_t>(m)};
      place.learning_rate =
          policy::learning_rate_at(recipe_.optimizer, place.update, o.max_steps * updates);
      metrics["learning_rate"] = place.learning_rate;
      grpo::Normalizer normalizer = grpo::normalizer_of(minis[m]);
      normalizer.rollout_tokens =
          static_cast<double>(batch.num_loss_tokens) / static_cast<double>(o.steps_per_generation);
      Update result = update(minis[m], normalizer, place, dumps);
      if (result.applied) {
        ++applied;
        parts.insert(parts.end(), result.parts.begin(), result.parts.end());
      }
      done.push_back(std::move(result));
    }
  }
  for (const Update& u : done) {
    if (!u.applied) continue;
    metrics["loss"] += u.loss / applied;
    metrics["grad_norm"] += u.grad_norm / applied;
  }
  metrics["skipped_updates"] = static_cast<double>(done.size()) - applied;
  // The first update's policy is the sampler's, where the trainer did not take its own log-probs.
  if (!done.empty() && done[0].applied && !batch.sampling_logprobs.defined()) {
    const auto tokens = static_cast<double>(minis[0].num_loss_tokens);
    metrics["sampling/sampling_logp_difference/mean"] =
        done[0].difference_sum / std::max(1.0, tokens);
    metrics["sampling/sampling_logp_difference/max"] = done[0].difference_max;
  }
  metrics.merge(grpo::metric_values(grpo::merge_metrics(parts)));
  if (o.loss.use_adaptive_entropy) metrics["entropy_coef"] = entropy_.coef;
  return metrics;
}

GrpoUpdate::Update GrpoUpdate::update(const grpo::TrainBatch& mini, grpo::Normalizer normalizer,
                                      const Place& place, const std::filesystem::path& dumps) {
  const std::vector<grpo::TrainBatch> micros =
      grpo::split(own_share(group_, mini), recipe_.grpo.train_tokens_max);
  add_entropy_threshold(model_, micros, recipe_.grpo, group_, normalizer);
  grpo::LossOptions loss = loss_options(recipe_);
  if (loss.use_adaptive_entropy) loss.entropy_coef = entropy_.applied();
  Update out;
  accumulate(micros, normalizer, loss, mini.num_sequences(), out);
  optimizer_.sum_gradients();
  merge_workers(out);
  if (std::isfinite(out.loss)) {
    const policy::AdamW::StepResult result = optimizer_.step(place.learning_rate);
    out.grad_norm = result.grad_norm;
    out.applied = result.applied;
    policy::refresh_lora(model_);
  }
  if (!out.applied) {
    optimizer_.drop_gradients();
    note_skipped(place, dumps.empty() ? dumps
                                      : write_dump(dumps, recipe_, model_,
                                                   {.step = place.step,
                                                    .update = place.update,
                                                    .loss = out.loss,
                                                    .grad_norm = out.grad_norm,
                                                    .entropy_coef = loss.entropy_coef,
                                                    .normalizer = normalizer,
                                                    .batch = mini}));
    return out;
  }
  skipped_in_a_row_ = 0;
  ++policy_version_;
  if (loss.use_adaptive_entropy && mini.num_loss_tokens > 0) {
    const char* trained = loss.top_entropy_quantile < 1 ? "entropy_active" : "entropy";
    entropy_.observe(grpo::metric_values(grpo::merge_metrics(out.parts)).at(trained));
  }
  reference_.after_update(model_, place.update + 1);
  return out;
}

// Adds the update's gradients to the parameters, micro-batch by micro-batch, up to the first whose
// loss is not finite. `sequences`: of the whole update.
void GrpoUpdate::accumulate(const std::vector<grpo::TrainBatch>& micros,
                            const grpo::Normalizer& normalizer, const grpo::LossOptions& loss,
                            int64_t sequences, Update& update) {
  for (size_t m = 0; m < micros.size(); ++m) {
    const grpo::TrainBatch& micro = micros[m];
    if (micro.num_loss_tokens == 0) continue;
    policy::MoeRecord record{.balance = recipe_.grpo.aux_loss};
    const policy::TokenLogprobs now =
        batch_logprobs(model_, micro, recipe_.grpo.temperature, &record);
    grpo::LossInputs inputs = grpo::loss_inputs(micro, now.logprobs, normalizer, loss);
    inputs.entropies = now.entropies;
    grpo::LossResult result = grpo::policy_loss(inputs, loss);
    // Each micro-batch has its share of the balance by its sequences.
    if (record.balance_loss.defined()) {
      result.loss =
          result.loss + record.balance_loss * (static_cast<double>(micro.num_sequences()) /
                                               static_cast<double>(sequences));
    }
    if (m + 1 == micros.size()) optimizer_.expect_last_backward();
    result.loss.backward();
    update.loss += result.loss.item<double>();
    if (!std::isfinite(update.loss)) return;
    update.parts.push_back(std::move(result.parts));
    if (inputs.sampling_logprobs.defined()) continue;  // the loss measures it
    const at::Tensor difference = (now.logprobs.detach() - inputs.old_logprobs).abs();
    update.difference_sum += difference.sum().item<double>();
    update.difference_max = std::max(update.difference_max, difference.max().item<double>());
  }
}

// Makes each worker's part of the update's loss and metrics the whole.
void GrpoUpdate::merge_workers(Update& update) {
  if (group_.size() == 1) return;
  data::Json parts = data::Json::array();
  for (const grpo::MetricParts& metrics : update.parts) {
    data::Json& own = parts.emplace_back(data::Json::object());
    for (const auto& [name, part] : metrics) own[name] = {part.kind, part.value, part.weight};
  }
  const data::Json own = {{"loss", update.loss},
                          {"difference_sum", update.difference_sum},
                          {"difference_max", update.difference_max},
                          {"parts", std::move(parts)}};
  update = {};
  for (const data::Json& worker : gather_json(group_, own, "the update's loss")) {
    update.loss += worker.at("loss").get<double>();
    update.difference_sum += worker.at("difference_sum").get<double>();
    update.difference_max =
        std::max(update.difference_max, worker.at("difference_max").get<double>());
    for (const data::Json& micro : worker.at("parts")) {
      grpo::MetricParts& metrics = update.parts.emplace_back();
      for (const auto& [name, part] : micro.items()) {
        metrics[name] = {.kind = part.at(0).get<grpo::MetricPart::Kind>(),
                         .value = part.at(1).get<double>(),
                         .weight = part.at(2).get<double>()};
      }
    }
  }
}

void GrpoUpdate::note_skipped(const Place& place, const std::filesystem::path& dump) {
  ++skipped_in_a_row_;
  // Of several workers rank 0 alone writes it.
  const std::string shown = dump.empty() ? "the dump that rank 0 names" : dump.string();
  fmt::print(stderr,
             "ponder: warning: step {}: update {} had a loss or gradient that is not finite and "
             "was left out; ponder train --replay {} shows where it began\n",
             place.step, place.update, shown);
  if (skipped_in_a_row_ < kSkippedMax) return;
  core::throw_run(
      "step {}: {} updates in a row had a loss or gradient that is not finite; the last one is in "
      "{} (ponder train --replay takes it): lower optimizer.learning_rate and start anew with "
      "another --run",
      place.step, skipped_in_a_row_, shown);
}

}  // namespace ponder::recipes
