#include "rewards/math_reward.h"

namespace ponder::rewards {
namespace {

std::string gold_of(const data::Json& answer) {
  return answer.is_string() ? answer.get<std::string>() : answer.dump();
}

}  // namespace

void bind(core::Binder& b, MathOptions& o) {
  b.field("strict", o.strict, "the names of variables matter");
  b.field("float_rounding", o.float_rounding,
          "decimals and digits that an inexact decimal must have right", {.low = 1, .high = 50});
  b.field("percent_equals_decimal", o.percent_equals_decimal, "28% is 28 as well as 0.28");
  b.field("allow_set_relation_comp", o.allow_set_relation_comp,
          "an interval may be answered by an inequality");
}

std::string MathReward::problem_with(const data::Prompt& prompt) const {
  if (prompt.answer.is_null()) return "the prompt has no answer to compare with";
  const MathVerdict verdict = check_gold(gold_of(prompt.answer), options_);
  return verdict.status == MathStatus::kRight ? "" : verdict.reason;
}

Judgement MathReward::judge(const data::Prompt& prompt, const data::Completion& completion) const {
  using data::ScoreStatus;
  if (prompt.answer.is_null()) {
    return {std::nullopt, ScoreStatus::kRefused, "the prompt has no answer to compare with"};
  }
  if (completion.finish_reason != data::FinishReason::kStop) {
    return {0.0, ScoreStatus::kUnparsed, "cut before its end: no answer"};
  }
  const MathVerdict verdict = check_math(completion.text, gold_of(prompt.answer), options_);
  switch (verdict.status) {
    case MathStatus::kRight:
      return {1.0, ScoreStatus::kOk, verdict.reason};
    case MathStatus::kWrong:
      return {0.0, ScoreStatus::kWrong, verdict.reason};
    case MathStatus::kUnparsed:
      return {0.0, ScoreStatus::kUnparsed, verdict.reason};
    case MathStatus::kUnparsedGold:
    case MathStatus::kRefused:
      break;
  }
  return {std::nullopt, ScoreStatus::kRefused, verdict.reason};
}

}  // namespace ponder::rewards
