#include "recipes/grpo_bench.h"

#include <algorithm>

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include "core/memory.h"
#include "core/random.h"
#include "core/timer.h"
#include "grpo/batch.h"
#include "policy/tokenizer.h"
#include "recipes/grpo_update.h"
#include "recipes/reference.h"
#include "recipes/step_bench.h"
#include "rollout/engine.h"

namespace ponder::recipes {
namespace {

// The completions' lengths, [prompts * num_generations].
std::vector<int64_t> completion_lengths(const GrpoBenchOptions& o) {
  const double mean = static_cast<double>(o.new_tokens) * (1 + o.spread) / (2 * o.spread);
  std::vector<int64_t> lengths = bench_lengths({.sequences = o.prompts * o.num_generations,
                                                .mean_length = static_cast<int64_t>(mean),
                                                .spread = o.spread});
  for (int64_t& length : lengths) length = std::min(length, o.new_tokens);
  return lengths;
}

std::vector<rollout::Request> make_requests(const GrpoBenchOptions& o, int64_t vocabulary,
                                            int64_t step) {
  const std::vector<int64_t> lengths = completion_lengths(o);
  core::Rng rng(1, static_cast<uint64_t>(step));
  std::vector<rollout::Request> requests;
  for (int64_t p = 0; p < o.prompts; ++p) {
    rollout::Request request;
    request.prompt.id = fmt::format("{}.{}", step, p);
    for (int64_t t = 0; t < o.prompt_tokens; ++t)
      request.prompt.token_ids.push_back(static_cast<int32_t>(rng.integer(0, vocabulary - 1)));
    request.options.num_generations = o.num_generations;
    request.options.max_completion_length = o.new_tokens;
    request.options.ignore_eos = true;
    request.options.round = static_cast<uint64_t>(step);
    request.lengths_max.assign(lengths.begin() + p * o.num_generations,
                               lengths.begin() + (p + 1) * o.num_generations);
    requests.push_back(std::move(request));
  }
  return requests;
}

// Share of even tokens: something that differs between completions.
std::vector<data::ScoredGroup> judge(std::vector<data::Group> groups) {
  std::vector<data::ScoredGroup> out;
  for (data::Group& group : groups) {
    std::vector<data::Score> scores;
    for (const data::Completion& completion : group.completions) {
      const auto even = std::count_if(completion.token_ids.begin(), completion.token_ids.end(),
                                      [](int32_t id) { return id % 2 == 0; });
      scores.push_back(
          {.value = static_cast<double>(even) / static_cast<double>(completion.token_ids.size()),
           .status = data::ScoreStatus::kOk,
           .reason = {}});
    }
    out.emplace_back(std::move(group), std::move(scores));
  }
  return out;
}

using Seconds = std::map<std::string, double>;

}  // namespace

data::Json bench_grpo_step(const GrpoBenchOptions& o) {
  GrpoRecipe recipe;
  recipe.model_name_or_path = o.model.string();
  recipe.grpo.max_completion_length = o.new_tokens;
  recipe.grpo.train_tokens_max = o.train_tokens_max;
  recipe.grpo.max_steps = o.repetitions + 1;
  recipe.grpo.loss.beta = o.beta;
  recipe.optimizer.adam_moments_dtype = o.moments;
  policy::Model model = policy::Model::load(o.model, o.bf16 ? at::kBFloat16 : at::kFloat);
  model.set_gradient_checkpointing(o.gradient_checkpointing);
  const policy::Tokenizer tokenizer = policy::Tokenizer::from_folder(o.model);
  rollout::Engine engine(model, tokenizer, {});
  policy::AdamW optimizer(model.parameters(), recipe.optimizer);
  Reference reference(recipe.grpo, model);
  distributed::Group alone = distributed::Group::alone();
  GrpoUpdate update(recipe, model, optimizer, reference, alone);
  std::vector<Seconds> steps;
  for (int64_t step = 1; step <= o.repetitions + 1; ++step) {
    Seconds seconds;
    const core::Stopwatch watch;
    std::vector<data::Group> groups;
    {
      const core::PhaseTimer timer(seconds, "sample");
      groups = engine.generate(make_requests(o, model.config().vocab_size, step));
    }
    const std::vector<data::ScoredGroup> scored = judge(std::move(groups));
    const grpo::Advantages advantages = grpo::compute_advantages(scored, recipe.grpo.advantage);
    grpo::TrainBatch batch = grpo::pack(scored, advantages.values, {});
    if (reference) {
      const core::PhaseTimer timer(seconds, "reference");
      reference.add_logprobs(batch);
    }
    {
      const core::PhaseTimer timer(seconds, "train");
      update.run(step, batch, std::filesystem::temp_directory_path());
    }
    seconds["total"] = watch.seconds();
    if (step > 1) steps.push_back(seconds);
  }
  const auto best = *std::min_element(
      steps.begin(), steps.end(),
      [](const Seconds& a, const Seconds& b) { return a.at("total") < b.at("total"); });
  std::vector<double> totals;
  for (const Seconds& s : steps) totals.push_back(s.at("total"));
  return {{"model", o.model.string()},
          {"dtype", o.bf16 ? "bfloat16" : "float32"},
          {"threads", at::get_num_threads()},
          {"prompts", o.prompts},
          {"num_generations", o.num_generations},
          {"prompt_tokens", o.prompt_tokens},
          {"lengths", completion_lengths(o)},
          {"beta", o.beta},
          {"seconds", best},
          {"steps_seconds", totals},
          {"peak_rss_bytes", core::peak_memory_bytes()}};
}

}  // namespace ponder::recipes
