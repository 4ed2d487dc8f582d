#include "recipes/grpo_stage.h"

#include <algorithm>

#include <ATen/ATen.h>

#include "core/file.h"
#include "core/timer.h"
#include "recipes/batch_logprobs.h"
#include "recipes/evaluate.h"
#include "recipes/grpo_rollout.h"
#include "recipes/grpo_update.h"
#include "recipes/prompts.h"
#include "recipes/rollout_metrics.h"
#include "recipes/trainee.h"

namespace ponder::recipes {
namespace {

// The parameters that are trained; the others' gradients are switched off.
std::vector<policy::Parameter> trained_parameters(const policy::Model& model, bool freeze_router) {
  std::vector<policy::Parameter> out;
  for (const policy::Parameter& p : model.parameters()) {
    if (freeze_router && p.name.ends_with("mlp.gate.weight")) {
      at::Tensor(p.tensor).requires_grad_(false);
    } else {
      out.push_back(p);
    }
  }
  return out;
}

Trainee make_trainee(const GrpoRecipe& recipe) {
  policy::Model model = policy::Model::load(recipe.model_name_or_path);
  const auto trained = trained_parameters(model, recipe.grpo.freeze_router);
  return Trainee(std::move(model), trained, recipe.model_name_or_path, recipe.reward,
                 recipe.optimizer);
}

class GrpoStage : public Stage {
 public:
  explicit GrpoStage(const GrpoRecipe& recipe)
      : recipe_(recipe),
        trainee_(make_trainee(recipe)),
        prompts_(recipe.dataset, recipe.seed, trainee_.tokenizer,
                 trainee_.model.config().max_position_embeddings),
        rollout_(recipe_.grpo, recipe.seed, prompts_, trainee_.engine, trainee_.scorer),
        update_(recipe_, trainee_.model, trainee_.optimizer) {
    if (recipe.grpo.loss.beta > 0)
      reference_ = std::make_unique<policy::Model>(trainee_.model.frozen_copy());
    if (recipe.eval.num_prompts == 0) return;
    trainee_.held_out =
        recipe.eval.dataset.empty()
            ? prompts_.held_out(recipe.eval.num_prompts)
            : evaluation_prompts(recipe.eval.dataset, recipe.eval.num_prompts, trainee_.tokenizer);
  }

  int64_t num_steps() const override { return recipe_.grpo.max_steps; }

  Metrics step(int64_t step, const StepContext& context) override {
    const core::Stopwatch watch;
    std::map<std::string, double> seconds;
    const std::vector<data::ScoredGroup> groups =
        rollout_.run(step, update_.policy_version(), seconds, context.say);
    const grpo::Advantages advantages = grpo::compute_advantages(groups, recipe_.grpo.advantage);
    write_completions(step, groups, advantages, context.completions_file);
    Metrics metrics = rollout_metrics(groups);
    metrics.insert(advantages.metrics.begin(), advantages.metrics.end());
    grpo::TrainBatch batch =
        grpo::pack(groups, advantages.values,
                   {.mask_truncated_completions = recipe_.grpo.mask_truncated_completions});
    if (reference_) add_reference(batch, seconds);
    context.say("training");
    context.before_update();
    {
      const core::PhaseTimer timer(seconds, "train");
      metrics.merge(update_.run(step, batch));
    }
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
    return trainee_.evaluate(recipe_.eval, recipe_.seed, step, evaluation_file, say);
  }

  WriteCheckpoint checkpoint(int64_t step) const override {
    return trainee_.checkpoint(
        at::kFloat, {}, {{"step", step}, {"num_tokens", num_tokens_}, {"update", update_.state()}});
  }

  void restore(const std::filesystem::path& checkpoint) override {
    trainee_.restore(checkpoint, {}, [this](const data::Json& values) {
      num_tokens_ = values.at("num_tokens").get<int64_t>();
      update_.restore(values.at("update"));
    });
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
    batch.ref_logprobs = batch_logprobs_in_parts(*reference_, batch, recipe_.grpo.temperature,
                                                 recipe_.grpo.train_tokens_max);
  }

  GrpoRecipe recipe_;
  Trainee trainee_;
  PromptSource prompts_;
  GrpoRollout rollout_;
  GrpoUpdate update_;
  std::unique_ptr<policy::Model> reference_;  // the policy as it was at the start
  int64_t num_tokens_ = 0;                    // trained, prompts included
};

}  // namespace

std::unique_ptr<Stage> make_grpo_stage(const GrpoRecipe& recipe) {
  return std::make_unique<GrpoStage>(recipe);
}

}  // namespace ponder::recipes
