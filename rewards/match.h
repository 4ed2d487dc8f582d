// Rewards that compare a final answer as text: exact match, multiple choice, regular expressions.
// The final answer is the last <answer>...</answer>, else the last \boxed{...}, else all that
// stands behind the reasoning. A cut completion has none.
#pragma once

#include <memory>

#include "core/recipe.h"
#include "rewards/reward.h"

namespace re2 {
class RE2;
}

namespace ponder::rewards {

struct ExactMatchOptions {
  bool ignore_case = false;
};
void bind(core::Binder& b, ExactMatchOptions& o);

// 1 where the final answer is the reference, white space at the ends and its runs aside. The
// reference is text, a number, or a list of such: any of them will do.
class ExactMatch : public Reward {
 public:
  explicit ExactMatch(const ExactMatchOptions& options) : options_(options) {}
  Judgement judge(const data::Prompt& prompt, const data::Completion& completion) const override;
  std::string problem_with(const data::Prompt& prompt) const override;

 private:
  ExactMatchOptions options_;
};

// 1 where the letter that the final answer names, "B", "(B)" or "B. text", is the reference's (a
// letter from A to Z, also in brackets). Without tag or box, "answer is B" and "answer: B" count.
// Two different letters, "A or B", are wrong.
class MultipleChoice : public Reward {
 public:
  Judgement judge(const data::Prompt& prompt, const data::Completion& completion) const override;
  std::string problem_with(const data::Prompt& prompt) const override;
};

struct RegexOptions {
  std::string
      pattern;  // RE2's syntax, "." matches line ends; empty: the prompt's answer is the pattern
  bool whole = true;  // the whole text must match, white space at its ends aside; else a part of it
};
void bind(core::Binder& b, RegexOptions& o);

// 1 where the rendered text matches. RE2: linear in the text, whatever the pattern.
class RegexMatch : public Reward {
 public:
  // Throws UserError: a pattern that is none.
  explicit RegexMatch(const RegexOptions& options);
  ~RegexMatch() override;
  Judgement judge(const data::Prompt& prompt, const data::Completion& completion) const override;
  std::string problem_with(const data::Prompt& prompt) const override;

 private:
  RegexOptions options_;
  std::unique_ptr<re2::RE2> pattern_;
};

}  // namespace ponder::rewards
