#include "rewards/choice.h"

#include <gtest/gtest.h>

namespace ponder::rewards {
namespace {

TEST(Choice, TheLetterIsFoundHoweverItIsWritten) {
  for (const char* text : {"Final answer is B", "Because B is valid", "\\boxed{B}",
                           "\\boxed{\\text{(B)}}", "The answer is (b).", "The answer is B. Paris",
                           "<answer>B) 12</answer>", "<think>A</think> B", "**Answer:** B"}) {
    EXPECT_EQ(chosen_letter(text), 'B') << text;
  }
  for (const char* text :
       {"No valid answer here", "", "\\boxed{12}", "\\boxed{\\text{A or B}}", "<think>B</think>"}) {
    EXPECT_EQ(chosen_letter(text), 0) << text;
  }
}

TEST(Choice, VerdictsNameBothLetters) {
  EXPECT_EQ(check_choice("The answer is (C).", "C").status, MathStatus::kRight);
  EXPECT_EQ(check_choice("The answer is (C).", "\\text{(D)}").reason, "answer C, expected D");
  EXPECT_EQ(check_choice("I do not know which one of them it could be.", "C").status,
            MathStatus::kUnparsed);
  EXPECT_EQ(check_choice("C", "12").status, MathStatus::kUnparsedGold);
}

TEST(Choice, ExactMatchMindsBlanksAndCaseOnly) {
  EXPECT_EQ(check_exact("\\boxed{New  York}", "new york", false).status, MathStatus::kRight);
  EXPECT_EQ(check_exact("\\boxed{New York}", "new york", true).status, MathStatus::kWrong);
  EXPECT_EQ(check_exact("\\boxed{1/2}", "0.5", false).status, MathStatus::kWrong);
  EXPECT_EQ(check_exact("", "x", false).status, MathStatus::kUnparsed);
}

}  // namespace
}  // namespace ponder::rewards
