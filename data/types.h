// The records that flow through ponder, one type a stage:
//
//   Prompt -rollout-> Group -rewards-> ScoredGroup -grpo-> TrainBatch -policy, loss-> StepReport
//
// A stage adds a type; none fills in a field of the stage before. Tensors begin at
// grpo::TrainBatch: nothing here knows LibTorch, so rewards, sandbox and logs build without it.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"

namespace ponder::data {

using Json = nlohmann::json;

// One problem, as a dataset reader makes it.
struct Prompt {
  std::string id;    // unique within the dataset, stable between runs: seeds this prompt's samples
  std::string text;  // as the policy sees it: template applied, ready to be continued
  std::vector<int32_t>
      token_ids;  // [prompt]; `text` encoded, filled by the reader that has a tokenizer, else empty
  Json answer;    // the reference that the rewards compare with; null where there is none
  std::vector<std::string> rewards;  // the rewards that judge it; empty: the recipe's
  Json columns =
      Json::object();  // every other column of the dataset, handed to the rewards untouched
};

// Why a completion ended.
enum class FinishReason {
  kStop,     // the policy sampled a stop token or a stop string
  kLength,   // max_completion_length or the context's end
  kAborted,  // cancelled or past its deadline
  kPaused,   // at its share of one rollout: tokens and log-probs are kept, a later one goes on
};

// The field's word for it: "stop", "length", "aborted", "paused".
const char* name_of(FinishReason reason);

// One sampled continuation of a prompt.
struct Completion {
  std::vector<int32_t> token_ids;  // [completion], the stop token included where one was sampled
  std::vector<float>
      logprobs;  // [completion] nats: log p of each token under the policy that sampled it, at the
                 // sampling temperature (1 where greedy), before penalties, biases and truncation
  std::vector<float> sampling_logprobs =
      {};  // [completion] nats: under the distribution it was drawn from, all of those applied;
           // empty where the engine cannot tell
  // Where the request keeps the sampling mask: the ids that each token was drawn from, ascending,
  // end to end, and how many of them are each token's (0: the whole vocabulary). [completion].
  std::vector<int32_t> kept_ids = {}, kept_counts = {};
  // Where the request keeps the routing: the experts that the engine chose, [(prompt + completion)
  // x mixtures x experts a token], -1 where it made no choice (the last token is never computed).
  std::vector<int16_t> experts = {};
  std::string text;  // `token_ids` decoded without the stop token and cut before the stop string;
                     // what the rewards read
  FinishReason finish_reason = FinishReason::kAborted;
  int64_t policy_version = 0;  // optimizer updates that the policy of its first token had seen
  std::vector<int64_t> token_versions =
      {};  // [completion] the same of each token; empty: policy_version for all
};

// One prompt and its completions, in sample order.
struct Group {
  Prompt prompt;
  std::vector<Completion> completions;  // [group]
};

// What came of judging one completion. Only kOk and kWrong are verdicts; the others are counted and
// say what failed.
enum class ScoreStatus {
  kOk,        // judged, full marks on every required part
  kWrong,     // judged, not right
  kUnparsed,  // the completion holds no answer that could be read
  kTimeout,   // the reward ran out of its budget
  kCrashed,   // the reward failed (exception, dead process, garbage)
  kRefused,   // the reward declined (unsafe, unparsable reference)
};

// "ok", "wrong", "unparsed", "timeout", "crashed", "refused".
const char* name_of(ScoreStatus status);

// The judgement of one completion.
struct Score {
  std::optional<double>
      value;  // the weighted total; none: not judged, the sample is masked and counted, never 0
  std::map<std::string, double> parts = {};  // each reward's own value by name, unweighted
  ScoreStatus status = ScoreStatus::kCrashed;
  std::string reason;  // short, for a person: "answer 23, expected 25"
};

// A group whose completions have been judged: scores[i] belongs to group.completions[i].
struct ScoredGroup {
  // Throws InternalError when the sizes differ.
  ScoredGroup(Group judged, std::vector<Score> its_scores);

  Group group;
  std::vector<Score> scores;  // [group]
};

// What one optimizer step (or one evaluation) did.
struct StepReport {
  int64_t step = 0;
  std::map<std::string, double>
      metrics;  // TRL's names where TRL has one; timing_s/* and perf/* depend on the machine
};

}  // namespace ponder::data
