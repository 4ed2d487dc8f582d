#include "data/types.h"

namespace ponder::data {

const char* name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kAborted:
      return "aborted";
    case FinishReason::kPaused:
      return "paused";
  }
  return "aborted";
}

const char* name_of(ScoreStatus status) {
  switch (status) {
    case ScoreStatus::kOk:
      return "ok";
    case ScoreStatus::kWrong:
      return "wrong";
    case ScoreStatus::kUnparsed:
      return "unparsed";
    case ScoreStatus::kTimeout:
      return "timeout";
    case ScoreStatus::kCrashed:
      return "crashed";
    case ScoreStatus::kRefused:
      return "refused";
  }
  return "crashed";
}

ScoredGroup::ScoredGroup(Group judged, std::vector<Score> its_scores)
    : group(std::move(judged)), scores(std::move(its_scores)) {
  PONDER_CHECK(group.completions.size() == scores.size(),
               "[ScoredGroup] {} completions but {} scores for prompt {}", group.completions.size(),
               scores.size(), group.prompt.id);
}

}  // namespace ponder::data
