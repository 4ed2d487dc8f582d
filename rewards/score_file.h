// Rewards over a JSONL file: how a reward is developed. One object a line goes in and one comes
// out, in the same order.
#pragma once

#include <cstdio>
#include <filesystem>
#include <map>
#include <string>

#include "rewards/scorer.h"

namespace ponder::rewards {

struct ScoreRequest {
  RewardOptions rewards{.reward_funcs = {}, .reward_weights = {}, .max_failure_share = 1};
  std::filesystem::path input;  // "-": stdin
  LoadRewardModel load_model;   // for "reward_model"; may be empty
  bool explain = false;         // each line also holds what every reward said
};

// One line as the records that rewards judge: "completion" (text, or a list of messages), and,
// where there are, "prompt" (the same), "answer" (or "solution"), "finish_reason" ("stop" where
// absent), "tokens", "rewards", "id"; all else are columns. Throws UserError that begins with
// `where`.
struct ScoreLine {
  data::Prompt prompt;
  data::Completion completion;
};
ScoreLine parse_score_line(const std::string& line, const std::string& where);

struct ScoreSummary {
  size_t count = 0, with_value = 0;
  double sum = 0, seconds = 0;
  std::map<std::string, size_t> statuses;
  std::map<std::string, double> metrics;  // of the rewards

  // Some lines for a person.
  std::string text() const;
};

// Writes {"reward", "status", "parts", "reason"} lines to `out`, scored by all cores. Throws
// UserError (input, rewards) and RunError (max_failure_share passed, a failed write); what was
// scored before is written.
ScoreSummary score_file(const ScoreRequest& request, std::FILE* out);

}  // namespace ponder::rewards
