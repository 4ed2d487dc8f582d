// The verifier of the countdown game: does the final answer's expression use each given number
// exactly once and equal the target? Exact arithmetic; any right expression counts.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "rewards/reward.h"

namespace ponder::rewards {

// An expression of whole numbers, + - * / (also × ÷ and LaTeX's \times \cdot \div) and parentheses.
struct CountdownExpression {
  std::multiset<int64_t> numbers;  // that stand in it
  int64_t numerator = 0;           // of its value, in lowest terms
  int64_t denominator = 1;         // positive
};

// Throws nothing: none with a reason in `problem` where the text is no such expression, divides by
// zero, is longer than 1,000 bytes, or has a value beyond 64 bits.
std::optional<CountdownExpression> parse_countdown(std::string_view text, std::string& problem);

// 1 where the final answer (the last <answer>, else the last \boxed) is such an expression of the
// prompt's columns "nums" (whole numbers), each used exactly once, with the value of column
// "target".
// "... = target" behind the expression may stand. A cut completion has no answer.
class Countdown : public Reward {
 public:
  Judgement judge(const data::Prompt& prompt, const data::Completion& completion) const override;
  std::string problem_with(const data::Prompt& prompt) const override;
};

}  // namespace ponder::rewards
