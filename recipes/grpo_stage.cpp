#include "recipes/grpo_stage.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

#include "core/error.h"
#include "core/file.h"
#include "core/timer.h"
#include "grpo/batch.h"
#include "policy/hf_folder.h"
#include "policy/ops.h"
#include "recipes/evaluate.h"
#include "recipes/prompts.h"
#include "recipes/rollout_metrics.h"
#include "recipes/trainer_state.h"

namespace ponder::recipes {
namespace {

// Updates in a row that may be skipped for a gradient that is not finite.
constexpr int64_t kSkippedMax = 3;

policy::PackedInput input_of(const grpo::TrainBatch& batch) {
  return {
      .token_ids = batch.token_ids, .positions = batch.positions, .cu_seqlens = batch.cu_seqlens};
}

// Log-probabilities of the batch's loss tokens, [num_loss_tokens], in its order.
policy::TokenLogprobs loss_token_logprobs(const policy::Model& model, const grpo::TrainBatch& batch,
                                          double temperature) {
  const at::Tensor hidden = model.forward(input_of(batch));
  const at::Tensor indices = grpo::loss_indices(batch);
  // Token t is predicted by the state before it.
  return policy::token_logprobs(hidden.index_select(0, indices - 1), model.output_weight(),
                                batch.token_ids.index_select(0, indices), temperature);
}

class GrpoStage : public Stage {
 public:
  explicit GrpoStage(const GrpoRecipe& recipe)
      : recipe_(recipe),
        model_(policy::Model::load(recipe.model_name_or_path)),
        tokenizer_(policy::Tokenizer::from_folder(recipe.model_name_or_path)),
        prompts_(recipe.dataset, recipe.seed, tokenizer_, model_.config().max_position_embeddings),
        scorer_(recipe.reward),
        scoring_(scorer_, 1),
        engine_(model_, tokenizer_, {}),
        optimizer_(trainable(), recipe.optimizer) {
    policy::check_tokenizer_fits(tokenizer_, model_.config(), recipe.model_name_or_path);
    if (recipe.grpo.loss.beta > 0)
      reference_ = std::make_unique<policy::Model>(model_.frozen_copy());
    if (recipe.eval.num_prompts > 0) {
      held_out_ =
          recipe.eval.dataset.empty()
              ? prompts_.held_out(recipe.eval.num_prompts)
              : evaluation_prompts(recipe.eval.dataset, recipe.eval.num_prompts, tokenizer_);
    }
  }

  int64_t num_steps() const override { return recipe_.grpo.max_steps; }

  Metrics step(int64_t step, const std::filesystem::path& completions_file,
               const Say& say) override {
    const core::Stopwatch watch;
    Metrics metrics;
    std::map<std::string, double> seconds;
    std::vector<data::ScoredGroup> groups = rollout(step, seconds, say);
    const grpo::Advantages advantages = grpo::compute_advantages(groups, recipe_.grpo.advantage);
    write_completions(step, groups, advantages, completions_file);
    metrics = rollout_metrics(groups);
    metrics.insert(advantages.metrics.begin(), advantages.metrics.end());
    grpo::TrainBatch batch =
        grpo::pack(groups, advantages.values,
                   {.mask_truncated_completions = recipe_.grpo.mask_truncated_completions});
    if (reference_) add_reference(batch, seconds);
    say("training");
    update(step, batch, metrics, seconds);
    num_tokens_ += batch.num_tokens();
    metrics["num_tokens"] = static_cast<double>(num_tokens_);
    seconds["step"] = watch.seconds();
    for (const auto& [phase, value] : seconds) metrics["timing_s/" + phase] = value;
    metrics["perf/tokens_per_s"] = static_cast<double>(batch.num_tokens()) / seconds["step"];
    metrics["perf/sampled_tokens_per_s"] = metrics["completions/total_length"] / seconds["sample"];
    return metrics;
  }

  Metrics evaluate(int64_t step, const std::filesystem::path& evaluation_file,
                   const Say& say) override {
    if (held_out_.empty()) return {};
    say("evaluating");
    return evaluate_both(engine_, scorer_, held_out_,
                         {.max_completion_length = recipe_.eval.max_completion_length,
                          .seed = static_cast<uint64_t>(recipe_.seed)},
                         step, evaluation_file);
  }

  void save(int64_t step, const std::filesystem::path& checkpoint) const override {
    policy::save_hf_folder(model_, at::kFloat, recipe_.model_name_or_path, checkpoint);
    save_trainer_state(checkpoint, model_, optimizer_,
                       {{"step", step},
                        {"policy_version", policy_version_},
                        {"num_tokens", num_tokens_},
                        {"skipped_in_a_row", skipped_in_a_row_}});
  }

  void restore(const std::filesystem::path& checkpoint) override {
    Counters counters = {{"policy_version", 0}, {"num_tokens", 0}, {"skipped_in_a_row", 0}};
    restore_trainer_state(checkpoint, model_, optimizer_, counters);
    policy_version_ = counters["policy_version"];
    num_tokens_ = counters["num_tokens"];
    skipped_in_a_row_ = counters["skipped_in_a_row"];
  }

  core::StepLine line(const Metrics& metrics) const override {
    const auto get = [&](const char* name) -> std::optional<double> {
      const auto found = metrics.find(name);
      return found == metrics.end() ? std::nullopt : std::optional<double>(found->second);
    };
    return {.reward = get("reward"),
            .accuracy = get("rewards/accuracy/mean"),
            .mean_length = get("completions/mean_length"),
            .kl = get("kl"),
            .entropy = get("entropy"),
            .tokens_per_s = get("perf/tokens_per_s")};
  }

 private:
  // The parameters that are trained; the others' gradients are switched off.
  std::vector<policy::Parameter> trainable() {
    std::vector<policy::Parameter> out;
    for (const policy::Parameter& p : model_.parameters()) {
      if (recipe_.grpo.freeze_router && p.name.ends_with("mlp.gate.weight")) {
        at::Tensor(p.tensor).requires_grad_(false);
      } else {
        out.push_back(p);
      }
    }
    return out;
  }

  // Samples and scores at the same time: a completion goes to the scorer the moment it ends.
  std::vector<data::ScoredGroup> rollout(int64_t step, std::map<std::string, double>& seconds,
                                         const Say& say) {
    const GrpoOptions& o = recipe_.grpo;
    std::vector<data::Prompt> prompts;
    for (int64_t i = 0; i < o.prompts_per_step; ++i)
      prompts.push_back(prompts_.at((step - 1) * o.prompts_per_step + i));
    const rollout::SampleOptions options{.rule = {.temperature = o.temperature},
                                         .num_generations = o.num_generations,
                                         .max_completion_length = o.max_completion_length,
                                         .seed = static_cast<uint64_t>(recipe_.seed),
                                         .round = static_cast<uint64_t>(step)};
    scoring_.start(prompts.size(), o.num_generations);
    std::vector<data::Group> groups;
    {
      const core::PhaseTimer timer(seconds, "sample");
      const int64_t total = o.prompts_per_step * o.num_generations;
      int64_t done = 0;
      groups = engine_.generate(prompts, options, policy_version_,
                                [&](size_t i, size_t j, const data::Completion& completion) {
                                  scoring_.submit(i, j, prompts[i], completion);
                                  say(fmt::format("sampling {}/{}", ++done, total));
                                });
    }
    const core::PhaseTimer timer(seconds, "score");
    std::vector<std::vector<data::Score>> scores = scoring_.finish();
    std::vector<data::ScoredGroup> scored;
    for (size_t i = 0; i < groups.size(); ++i)
      scored.emplace_back(std::move(groups[i]), std::move(scores[i]));
    return scored;
  }

  void write_completions(int64_t step, const std::vector<data::ScoredGroup>& groups,
                         const grpo::Advantages& advantages,
                         const std::filesystem::path& file) const {
    std::string lines;
    const size_t count = std::min<size_t>(groups.size(), recipe_.save.completions_per_step);
    for (size_t i = 0; i < count; ++i) lines += group_line(step, groups[i], advantages.values[i]);
    core::write_file_atomic(file, lines);
  }

  void add_reference(grpo::TrainBatch& batch, std::map<std::string, double>& seconds) const {
    const core::PhaseTimer timer(seconds, "reference");
    const at::NoGradGuard no_grad;
    std::vector<at::Tensor> parts;
    for (const grpo::TrainBatch& micro : grpo::split(batch, recipe_.grpo.train_tokens_max)) {
      if (micro.num_loss_tokens == 0) continue;
      parts.push_back(loss_token_logprobs(*reference_, micro, recipe_.grpo.temperature).logprobs);
    }
    batch.ref_logprobs = at::zeros_like(batch.old_logprobs);
    if (!parts.empty())
      batch.ref_logprobs.index_copy_(0, grpo::loss_indices(batch), at::cat(parts));
  }

  void update(int64_t step, const grpo::TrainBatch& batch, Metrics& metrics,
              std::map<std::string, double>& seconds) {
    const core::PhaseTimer timer(seconds, "train");
    const GrpoOptions& o = recipe_.grpo;
    const int64_t updates = o.num_iterations * o.num_mini_batches;
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
  }

  // Adds the mini-batch's gradients to the parameters, micro-batch by micro-batch; returns its
  // loss. For the first mini-batch of a rollout, whose policy is the sampler's, the two's
  // log-probabilities are compared in `metrics`.
  double accumulate(const grpo::TrainBatch& mini, const grpo::Normalizer& normalizer,
                    std::vector<grpo::MetricParts>& parts, Metrics* metrics) {
    double loss = 0, difference_sum = 0, difference_max = 0;
    for (const grpo::TrainBatch& micro : grpo::split(mini, recipe_.grpo.train_tokens_max)) {
      if (micro.num_loss_tokens == 0) continue;
      const policy::TokenLogprobs now =
          loss_token_logprobs(model_, micro, recipe_.grpo.temperature);
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

  void note_update(bool applied, int64_t step) {
    skipped_in_a_row_ = applied ? 0 : skipped_in_a_row_ + 1;
    if (applied) ++policy_version_;
    if (skipped_in_a_row_ >= kSkippedMax) {
      core::throw_run(
          "step {}: {} updates in a row had a gradient that is not finite: lower "
          "optimizer.learning_rate and start anew with another --run",
          step, skipped_in_a_row_);
    }
  }

  GrpoRecipe recipe_;
  policy::Model model_;
  policy::Tokenizer tokenizer_;
  PromptSource prompts_;
  rewards::Scorer scorer_;
  rewards::ScoringPool scoring_;
  rollout::Engine engine_;
  policy::AdamW optimizer_;
  std::unique_ptr<policy::Model> reference_;  // the policy as it was at the start
  std::vector<data::Prompt> held_out_;
  int64_t policy_version_ = 0;  // optimizer updates
  int64_t num_tokens_ = 0;      // trained, prompts included
  int64_t skipped_in_a_row_ = 0;
};

}  // namespace

std::unique_ptr<Stage> make_grpo_stage(const GrpoRecipe& recipe) {
  return std::make_unique<GrpoStage>(recipe);
}

}  // namespace ponder::recipes
