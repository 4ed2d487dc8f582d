#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/policy_files.h"
#include "cli/sampling_dtype.h"
#include "cli/validators.h"
#include "core/error.h"
#include "recipes/evaluate.h"
#include "recipes/prompts.h"
#include "recipes/reward_model.h"

namespace ponder::cli {
namespace {

struct EvalRequest {
  std::filesystem::path model;
  std::string data = "chain_sums";
  std::vector<std::string> rewards = {"accuracy", "format"};
  int64_t num_prompts = 512;
  int64_t max_completion_length = 80;
  std::vector<std::string> stop_strings = {};
  int64_t seed = 1;
  SamplingDtype dtype;
  bool json = false;
};

void run_eval(const EvalRequest& request) {
  const PolicyFiles policy = request.dtype.load(request.model);
  rollout::Engine engine(policy.model, policy.tokenizer, {.int8 = request.dtype.int8()});
  const rewards::Scorer scorer({request.rewards, std::vector<double>(request.rewards.size(), 1.0)},
                               recipes::load_reward_model);
  const auto prompts =
      recipes::evaluation_prompts(request.data, request.num_prompts, policy.tokenizer,
                                  policy.model.config().max_position_embeddings);
  rollout::SampleOptions options{.max_completion_length = request.max_completion_length,
                                 .seed = static_cast<uint64_t>(request.seed),
                                 .stop = request.stop_strings,
                                 .include_stop_str_in_output = !request.stop_strings.empty()};
  distributed::Group alone = distributed::Group::alone();
  const recipes::Evaluation sampled = recipes::evaluate(engine, scorer, prompts, options, alone);
  options.rule.temperature = 0;
  const recipes::Evaluation greedy = recipes::evaluate(engine, scorer, prompts, options, alone);
  const auto metrics = recipes::evaluation_metrics(greedy, sampled);
  if (request.json) {
    nlohmann::json out = metrics;
    out["num_prompts"] = prompts.size();
    fmt::print("{}\n", out.dump());
    return;
  }
  fmt::print("{}: {} problems of {}\n  {:<18}{:>10}{:>16}\n", request.model.string(),
             prompts.size(), request.data, "", "greedy", "sampled, T = 1");
  for (const auto& [name, value] : greedy.metrics) {
    const bool is_length = name == "mean_length";
    const auto cell = [is_length](double v) {
      return is_length ? fmt::format("{:.1f} tokens", v) : fmt::format("{:.1f} %", 100 * v);
    };
    fmt::print("  {:<18}{:>10}{:>16}\n", name, cell(value), cell(sampled.metrics.at(name)));
  }
}

}  // namespace

void add_eval(CLI::App& app) {
  auto request = std::make_shared<EvalRequest>();
  CLI::App* verb =
      app.add_subcommand("eval", "held-out accuracy, format share and mean length of a model");
  verb->add_option("--model", request->model, "a Hugging Face folder, such as a checkpoint")
      ->required();
  verb->add_option("--data", request->data, "chain_sums (its held-out problems), or a JSONL file")
      ->capture_default_str();
  verb->add_option("--reward", request->rewards, "rewards to average")->capture_default_str();
  add_dtype(*verb, request->dtype);
  verb->add_option("--num-prompts", request->num_prompts, "at most")
      ->check(whole(1))
      ->capture_default_str();
  verb->add_option("--max-new-tokens", request->max_completion_length, "of a completion")
      ->check(whole(1))
      ->capture_default_str();
  verb->add_option("--stop-string", request->stop_strings,
                   "a text that ends a completion, part of it; may be given more than once");
  verb->add_option("--seed", request->seed, "of the sampled completions")
      ->check(whole(0))
      ->capture_default_str();
  verb->add_flag("--json", request->json, "one JSON object instead of a table");
  verb->footer(
      "Example:\n  ponder eval --model runs/r1_zero_tiny/checkpoints/latest --num-prompts 1000 "
      "--json");
  verb->callback([request] { run_eval(*request); });
}

}  // namespace ponder::cli
