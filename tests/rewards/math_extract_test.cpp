#include <gtest/gtest.h>

#include "rewards/math/extract.h"

namespace ponder::rewards::math {
namespace {

struct Case {
  const char* name;
  const char* completion;
  Found found;
  const char* text;
};

TEST(MathExtract, TheLastAnswerCounts) {
  const Case cases[] = {
      {"box", "So $\\boxed{5}$.", Found::kBox, "5"},
      {"nested braces", "\\boxed{\\frac{1}{2}}", Found::kBox, "\\frac{1}{2}"},
      {"escaped brace", "\\boxed{\\{1\\}}", Found::kBox, "\\{1\\}"},
      {"last of two", "\\boxed{1}. Then \\boxed{2}.", Found::kBox, "2"},
      {"inner of two", "\\boxed{\\boxed{3}}", Found::kBox, "3"},
      {"joined by and", "\\boxed{1} and \\boxed{2}", Found::kBox, "1, 2"},
      {"joined by or", "either $\\boxed{1}$ or $\\boxed{2}$", Found::kBox, "1 or 2"},
      {"no braces", "so \\boxed 7 holds", Found::kBox, "7"},
      {"remark behind", "\\boxed{5}. Note that the answer is not 6.", Found::kBox, "5"},
      {"final answer behind", "\\boxed{5} is wrong. Final answer: 6", Found::kAnchor, "6"},
      {"marker", "1 + 1 = 2\n#### 2", Found::kMarker, "2"},
      {"line", "He has 3.\nA: 12", Found::kMarker, "12"},
      {"anchor", "Thus the answer is -3.", Found::kAnchor, "-3"},
      {"anchor with formula", "The final answer is $\\frac{1}{2}$. I hope it is correct.",
       Found::kAnchor, "\\frac{1}{2}"},
      {"anchor with decimals", "The answer is 1.5. Done.", Found::kAnchor, "1.5"},
      {"anchor in bold", "The answer is **B**.", Found::kAnchor, "B"},
      {"anchor in a box", "\\boxed{The answer is 5}", Found::kBox, "5"},
      {"statement", "Putting it together the point is (1, 2).", Found::kAnchor, "(1, 2)"},
      {"formula", "Therefore $x \\geq 5$ is the solution.", Found::kMath, "x \\geq 5"},
      {"display", "We get \\[ 9 \\] as said", Found::kMath, "9"},
      {"bare", "x^2 + 1", Found::kBare, "x^2 + 1"},
      {"words", "no solution", Found::kBare, "no solution"},
      {"number", "I count 12 apples and 15 pears in the large basket on the left", Found::kNumber,
       "15"},
      {"answer tag", "<think>1</think><answer> 7 </answer>", Found::kBare, "7"},
      {"box in the tag", "<answer>so \\boxed{7}</answer> or \\boxed{8}", Found::kBox, "7"},
      {"reasoning", "<think>\\boxed{1}</think> \\boxed{2}", Found::kBox, "2"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const Extracted extracted = extract_answer(c.completion);
    EXPECT_EQ(static_cast<int>(extracted.found), static_cast<int>(c.found));
    EXPECT_EQ(extracted.text, c.text);
  }
}

TEST(MathExtract, NothingIsMadeUp) {
  const Case cases[] = {
      {"empty", "", Found::kNothing, ""},
      {"empty box", "The answer is 5, so \\boxed{}", Found::kNothing, ""},
      {"open box", "\\boxed{1}, no: \\boxed{2", Found::kMalformed, ""},
      {"open tag", "<answer>1</answer> <answer>2", Found::kMalformed, ""},
      {"reasoning only", "<think>\\boxed{1}</think>", Found::kNothing, ""},
      {"reasoning never ends", "<think>the answer is \\boxed{1}", Found::kNothing, ""},
      {"number in a word", "Route A66b leads there and nobody knows any better than that",
       Found::kNothing, ""},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const Extracted extracted = extract_answer(c.completion);
    EXPECT_EQ(static_cast<int>(extracted.found), static_cast<int>(c.found)) << extracted.text;
    EXPECT_EQ(extracted.text, c.text);
  }
}

TEST(MathExtract, AGoldIsItsBoxOrItself) {
  EXPECT_EQ(extract_gold("Solving yields $x=1/5$, or $\\boxed{20}$ percent.").text, "20");
  EXPECT_EQ(extract_gold("\\boxed{1} papers and \\boxed{2} bins").text, "1, 2");
  EXPECT_EQ(extract_gold("He pays 3 * 4 = 12.\n#### 12").text, "12");
  EXPECT_EQ(extract_gold(" 3/4 ").text, "3/4");
  EXPECT_EQ(static_cast<int>(extract_gold("  ").found), static_cast<int>(Found::kNothing));
}

}  // namespace
}  // namespace ponder::rewards::math
