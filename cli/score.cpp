#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "rewards/score_file.h"

namespace ponder::cli {
namespace {

void run_score(rewards::ScoreRequest request) {
  if (request.rewards.reward_weights.empty())
    request.rewards.reward_weights.assign(request.rewards.reward_funcs.size(), 1.0);
  const rewards::ScoreSummary summary = rewards::score_file(request, stdout);
  fmt::print(stderr, "{}", summary.text());
}

}  // namespace

void add_score(CLI::App& app, rewards::LoadRewardModel load_model) {
  auto request = std::make_shared<rewards::ScoreRequest>();
  request->load_model = std::move(load_model);
  CLI::App* verb =
      app.add_subcommand("score", "rewards over a JSONL file, one line of JSON for each");
  verb->add_option("--reward", request->rewards.reward_funcs,
                   "a reward by name, with options as NAME{key = value}, or a plugin: FILE.so, "
                   "FILE.py[:FUNCTION], a command; "
                   "several are added up")
      ->required()
      ->expected(1)
      ->take_all();
  verb->add_option("--input", request->input,
                   "lines of {\"prompt\", \"completion\", \"answer\", ...}; - for stdin")
      ->required();
  verb->add_option("--weights", request->rewards.reward_weights,
                   "weight of each reward; without it 1")
      ->delimiter(',');
  verb->add_option("--gate", request->rewards.reward_gates,
                   "\"accuracy if format\": the first counts only where the second is ok")
      ->expected(1)
      ->take_all();
  verb->add_flag("--judge-truncated", request->rewards.judge_truncated,
                 "judge cut completions (finish_reason \"length\") as if they had ended");
  verb->add_flag("--explain", request->explain, "what every reward said, in each line");
  verb->add_option("--max-failure-share", request->rewards.max_failure_share,
                   "stop when more than this share could not be judged; without it never")
      ->check(CLI::Range(0.0, 1.0));
  verb->footer(
      "Example:\n  ponder score --reward accuracy --reward ./my_reward.py --input "
      "completions.jsonl --explain");
  verb->callback([request] { run_score(*request); });
}

}  // namespace ponder::cli
