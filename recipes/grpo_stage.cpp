#include "recipes/grpo_stage.h"

#include <algorithm>
#include <numeric>

#include <ATen/ATen.h>

#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/timer.h"
#include "recipes/batch_arithmetic.h"
#include "recipes/batch_logprobs.h"
#include "recipes/dump.h"
#include "recipes/evaluate.h"
#include "recipes/grpo_check.h"
#include "recipes/grpo_contradictions.h"
#include "recipes/grpo_rollout.h"
#include "recipes/grpo_update.h"
#include "recipes/one_step_off.h"
#include "recipes/pending.h"
#include "recipes/prompts.h"
#include "recipes/reference.h"
#include "recipes/rollout_metrics.h"
#include "recipes/scoring_metrics.h"
#include "recipes/stopping.h"
#include "recipes/trainee.h"
#include "recipes/workers.h"

namespace ponder::recipes {
namespace {

Trainee make_trainee(const GrpoRecipe& recipe, distributed::Group& group) {
  check_grpo_recipe(recipe);
  TrainedModel loaded = load_trained_model(recipe.model_name_or_path, recipe.training,
                                           recipe.grpo.freeze_router, recipe.seed);
  if (recipe.grpo.keep_routing && loaded.model.routing_width() == 0) {
    core::throw_user("grpo.keep_routing: {} has no mixture of experts: leave it out",
                     recipe.model_name_or_path);
  }
  return Trainee(std::move(loaded.model), loaded.trained, recipe.model_name_or_path, recipe.reward,
                 recipe.optimizer, group, engine_options(recipe.rollout));
}

class GrpoStage : public Stage {
 public:
  GrpoStage(const GrpoRecipe& recipe, distributed::Group& group)
      : recipe_(recipe),
        group_(group),
        trainee_(make_trainee(recipe, group)),
        prompts_(recipe.dataset, recipe.seed, trainee_.tokenizer,
                 trainee_.model.config().max_position_embeddings, recipe.model_name_or_path),
        reference_(recipe_.grpo, trainee_.model),
        rollout_(recipe_, prompts_, trainee_.tokenizer, trainee_.engine, trainee_.scorer, group),
        update_(recipe_, trainee_.model, trainee_.optimizer, reference_, group) {
    name_reward_weights();
    check_batch_arithmetic(recipe_, prompts_.size());
    trainee_.scorer.check(prompts_.train(), prompts_.train_places());
    if (recipe.grpo.one_step_off)
      one_step_off_ = std::make_unique<OneStepOff>(recipe_, prompts_, trainee_, group);
    if (recipe.eval.num_prompts == 0) return;
    trainee_.held_out =
        recipe.eval.dataset.empty()
            ? prompts_.held_out(recipe.eval.num_prompts)
            : evaluation_prompts(recipe.eval.dataset, recipe.eval.num_prompts, trainee_.tokenizer,
                                 trainee_.model.config().max_position_embeddings, recipe.dataset,
                                 recipe.model_name_or_path);
    trainee_.scorer.check(trainee_.held_out, recipe.eval.dataset.empty()
                                                 ? prompts_.held_out_places()
                                                 : std::vector<std::string>());
  }

  int64_t num_steps() const override { return recipe_.grpo.max_steps; }

  std::string plan() const override {
    const int64_t context = trainee_.model.config().max_position_embeddings;
    std::string text = batch_arithmetic(recipe_, prompts_.size()) + "\n";
    const std::string shares = worker_shares(recipe_, group_.size());
    if (!shares.empty()) text += shares + "\n";
    if (recipe_.grpo.max_completion_length >= context) {
      text += fmt::format(
          "completions end where prompt and completion fill the model's context of {} tokens\n",
          context);
    }
    return text;
  }

  void check(int workers, std::FILE* out) override {
    fmt::print(out, "{}", plan());
    const std::string shares = worker_shares(recipe_, workers);
    if (!shares.empty()) fmt::print(out, "{}\n", shares);
    const std::vector<data::ScoredGroup> group = rollout_.peek([](const std::string&) {});
    print_model(recipe_, trainee_, group.at(0).group, workers, out);
    print_group(group.at(0), grpo::compute_advantages(group, recipe_.grpo.advantage), out);
  }

  std::optional<Metrics> step(int64_t step, const StepContext& context) override {
    const core::Stopwatch watch;
    Rollout rollout = sample(step, context.say);
    if (rollout.cut_off) return std::nullopt;
    std::map<std::string, double> seconds = rollout.seconds;
    Metrics metrics = std::move(rollout.metrics);
    metrics.merge(scoring_metrics(rollout.groups, trainee_.scorer));
    context.say("training");
    group_.doing("training");
    auto [batch, advantages] = make_batch(rollout.groups, seconds);
    // With one_step_off the next rollout is under way, by weights that are then gone.
    if (!one_step_off_ && agreed_stop(group_) != 0) {
      rollout_.undo();
      return std::nullopt;
    }
    metrics.merge(advantages.metrics);
    metrics.merge(staleness(rollout.groups, update_.policy_version()));
    write_completions(step, rollout.groups, advantages, context.completions_file);
    context.before_update();
    {
      const core::PhaseTimer timer(seconds, "train");
      metrics.merge(update_.run(step, batch, context.dumps_folder));
    }
    if (one_step_off_) {
      const core::PhaseTimer timer(seconds, "wait_for_sampler");
      one_step_off_->wait();
    }
    num_tokens_ += batch.num_tokens();
    metrics["num_tokens"] = static_cast<double>(num_tokens_);
    seconds["step"] = watch.seconds();
    add_performance(batch.num_tokens(), seconds, metrics);
    return metrics;
  }

  std::optional<Metrics> evaluate(int64_t step, const std::filesystem::path& evaluation_file,
                                  const Say& say) override {
    return trainee_.evaluate(recipe_.eval, recipe_.seed, step, evaluation_file, say,
                             recipe_.grpo.stop_strings);
  }

  WriteCheckpoint checkpoint(int64_t step) const override {
    const auto write =
        trainee_.checkpoint(trainee_.model.dtype(), reference_.state(),
                            {{"step", step},
                             {"num_tokens", num_tokens_},
                             {"rollout", one_step_off_ ? one_step_off_->state() : rollout_.state()},
                             {"update", update_.state()}});
    const auto pending = one_step_off_ ? one_step_off_->pending() : std::optional<Rollout>();
    const auto paused = one_step_off_ ? one_step_off_->paused() : rollout_.paused();
    return [write, pending, paused](const std::filesystem::path& checkpoint) {
      if (pending) save_pending(checkpoint, *pending);
      if (!paused.empty()) save_paused(checkpoint, paused);
      write(checkpoint);
    };
  }

  void restore(const std::filesystem::path& checkpoint) override {
    trainee_.restore(checkpoint, reference_.state(), [&](const data::Json& values) {
      num_tokens_ = values.at("num_tokens").get<int64_t>();
      update_.restore(values.at("update"));
      if (one_step_off_)
        one_step_off_->restore(values.at("rollout"), load_paused(checkpoint),
                               load_pending(checkpoint));
      else
        rollout_.restore(values.at("rollout"), load_paused(checkpoint));
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
  // GDPO weighs each reward's normalised values as the recipe weighs the rewards.
  void name_reward_weights() {
    const rewards::RewardOptions& reward = recipe_.reward;
    for (size_t i = 0; i < reward.reward_funcs.size(); ++i) {
      recipe_.grpo.advantage.reward_weights[rewards::part_name(reward.reward_funcs[i])] =
          reward.reward_weights[i];
    }
  }

  Rollout sample(int64_t step, const Say& say) {
    if (!one_step_off_) return rollout_.run(step, update_.policy_version(), say, /*may_stop=*/true);
    Rollout rollout = one_step_off_->take(step, update_.policy_version(), say);
    if (!rollout.cut_off && step < num_steps())
      one_step_off_->start(step + 1, update_.policy_version());
    return rollout;
  }

  struct Batch {
    grpo::TrainBatch batch;
    grpo::Advantages advantages;
  };

  Batch make_batch(const std::vector<data::ScoredGroup>& groups,
                   std::map<std::string, double>& seconds) const {
    const GrpoOptions& o = recipe_.grpo;
    const grpo::PackOptions packing{.mask_truncated_completions = o.mask_truncated_completions};
    Batch out;
    if (o.use_kl_in_reward && reference_) {
      out = kl_rewarded(groups, packing, seconds);
    } else {
      out.advantages = grpo::compute_advantages(groups, o.advantage);
      out.batch = grpo::pack(groups, out.advantages.values, packing);
      if (reference_) {
        const core::PhaseTimer timer(seconds, "reference");
        add_reference(out.batch);
      }
    }
    // Weights that sampled and make one update from it: the trainer's own log-probs of that update
    // are the old ones. For several updates the sampler's serve where they are equal but for
    // rounding.
    const bool one_update = o.num_iterations * o.steps_per_generation == 1;
    const bool stale =
        o.one_step_off || o.partial_rollout_tokens > 0 || recipe_.rollout.is_remote();
    if (!one_update && !sampler_differs(recipe_)) return out;
    out.batch.sampling_logprobs = std::exchange(out.batch.old_logprobs, at::Tensor());
    if (one_update && !stale) return out;
    const core::PhaseTimer timer(seconds, "old_logprobs");
    out.batch.old_logprobs = gather_tokens(group_, out.batch, [&](const grpo::TrainBatch& share) {
      return batch_logprobs_in_parts(trainee_.model, share, o.temperature, o.train_tokens_max);
    });
    return out;
  }

  void add_reference(grpo::TrainBatch& batch) const {
    batch.ref_logprobs = gather_tokens(group_, batch, [this](grpo::TrainBatch share) {
      reference_.add_logprobs(share);
      return share.ref_logprobs;
    });
  }

  // KL in the reward: the reference is asked before the advantages are taken. REINFORCE++ has it
  // token by token, the others as a penalty of each completion.
  Batch kl_rewarded(const std::vector<data::ScoredGroup>& groups, const grpo::PackOptions& packing,
                    std::map<std::string, double>& seconds) const {
    const GrpoOptions& o = recipe_.grpo;
    Batch out;
    std::vector<std::vector<float>> totals;
    for (const data::ScoredGroup& group : groups) {
      auto& row = totals.emplace_back();
      for (const data::Score& score : group.scores)
        row.push_back(static_cast<float>(score.value.value_or(0)));
    }
    out.batch = grpo::pack(groups, totals, packing);
    {
      const core::PhaseTimer timer(seconds, "reference");
      add_reference(out.batch);
    }
    const auto penalties = grpo::kl_penalties(out.batch, o.loss.beta, o.loss.kl_estimator);
    out.advantages = grpo::compute_advantages(groups, o.advantage, penalties);
    double sum = 0, count = 0;
    for (const auto& row : penalties) {
      sum = std::accumulate(row.begin(), row.end(), sum);
      count += static_cast<double>(row.size());
    }
    out.advantages.metrics["kl_penalty"] = sum / count;
    if (o.advantage.estimator == grpo::Estimator::kReinforcePlusPlus) {
      out.batch.advantages = grpo::reinforce_plus_plus_token_advantages(out.batch, o.loss.beta);
    } else {
      out.batch.advantages = grpo::pack(groups, out.advantages.values, packing).advantages;
    }
    return out;
  }

  static void add_performance(int64_t num_tokens, const std::map<std::string, double>& seconds,
                              Metrics& metrics) {
    for (const auto& [phase, value] : seconds) metrics["timing_s/" + phase] = value;
    metrics["step_time"] = seconds.at("step");  // TRL's name
    metrics["perf/tokens_per_s"] = static_cast<double>(num_tokens) / seconds.at("step");
    metrics["perf/sampled_tokens_per_s"] =
        metrics["completions/total_length"] / seconds.at("sample");
    metrics["perf/memory_peak_bytes"] = static_cast<double>(core::peak_memory_bytes());
  }

  void write_completions(int64_t step, const std::vector<data::ScoredGroup>& groups,
                         const grpo::Advantages& advantages,
                         const std::filesystem::path& file) const {
    if (file.empty()) return;
    std::string lines;
    const size_t count = std::min<size_t>(groups.size(), recipe_.save.completions_per_step);
    for (size_t i = 0; i < count; ++i) lines += group_line(step, groups[i], advantages.values[i]);
    core::write_file_atomic(file, lines);
  }

  GrpoRecipe recipe_;
  distributed::Group& group_;
  Trainee trainee_;
  PromptSource prompts_;
  Reference reference_;
  GrpoRollout rollout_;
  std::unique_ptr<OneStepOff> one_step_off_;  // where the recipe asks for it: samples instead
  GrpoUpdate update_;
  int64_t num_tokens_ = 0;  // trained, prompts included
};

}  // namespace

std::unique_ptr<Stage> make_grpo_stage(const GrpoRecipe& recipe, distributed::Group& group) {
  return std::make_unique<GrpoStage>(recipe, group);
}

}  // namespace ponder::recipes
