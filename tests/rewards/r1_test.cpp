#include "rewards/r1.h"

#include <gtest/gtest.h>

namespace ponder::rewards {
namespace {

using data::FinishReason;
using data::ScoreStatus;

data::Completion completion(const std::string& text, FinishReason reason = FinishReason::kStop) {
  data::Completion c;
  c.text = text;
  c.finish_reason = reason;
  return c;
}

Judgement accuracy(const data::Json& answer, const std::string& text,
                   FinishReason reason = FinishReason::kStop) {
  data::Prompt prompt;
  prompt.answer = answer;
  return AnswerTagAccuracy().judge(prompt, completion(text, reason));
}

TEST(AnswerTagAccuracy, JudgesTheLastAnswer) {
  const struct {
    const char* name;
    data::Json answer;
    const char* text;
    double value;
    ScoreStatus status;
  } cases[] = {
      {"right", 23, "<think></think><answer>23</answer>", 1, ScoreStatus::kOk},
      {"blanks", 23, "<answer> 23\n</answer>", 1, ScoreStatus::kOk},
      {"leading zero and plus", 23, "<answer>+023</answer>", 1, ScoreStatus::kOk},
      {"reference as text", "23", "<answer>23</answer>", 1, ScoreStatus::kOk},
      {"integers of any size", "123456789012345678901234567890",
       "<answer>123456789012345678901234567890</answer>", 1, ScoreStatus::kOk},
      {"minus zero", 0, "<answer>-0</answer>", 1, ScoreStatus::kOk},
      {"text", "Paris", "<answer>Paris</answer>", 1, ScoreStatus::kOk},
      {"wrong", 23, "<answer>24</answer>", 0, ScoreStatus::kWrong},
      {"hedged", 23, "<answer>23 or 24</answer>", 0, ScoreStatus::kWrong},
      {"the last counts", 23, "<answer>23</answer><answer>24</answer>", 0, ScoreStatus::kWrong},
      {"prefix is not enough", 2, "<answer>23</answer>", 0, ScoreStatus::kWrong},
      {"a broken last one hides the earlier", 23, "<answer>23</answer> no, <answer>24", 0,
       ScoreStatus::kUnparsed},
      {"none", 23, "23", 0, ScoreStatus::kUnparsed},
      {"empty", 23, "<answer></answer>", 0, ScoreStatus::kWrong},
      {"sign alone", 23, "<answer>-</answer>", 0, ScoreStatus::kWrong},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const Judgement got = accuracy(c.answer, c.text);
    EXPECT_EQ(got.value, c.value);
    EXPECT_EQ(got.status, c.status);
    EXPECT_FALSE(got.reason.empty());
  }
}

TEST(AnswerTagAccuracy, ACutCompletionHasNoAnswer) {
  EXPECT_EQ(accuracy(23, "<answer>23</answer>", FinishReason::kLength).value, 0.0);
}

TEST(AnswerTagAccuracy, NoReferenceIsNoVerdict) {
  EXPECT_EQ(accuracy(nullptr, "<answer>23</answer>").value, std::nullopt);
  EXPECT_EQ(accuracy(nullptr, "<answer>23</answer>").status, ScoreStatus::kRefused);
}

TEST(AnswerTagAccuracy, LongAnswersDoNotBreakCharactersInTheReason) {
  std::string umlauts;
  for (int i = 0; i < 100; ++i) umlauts += "ü";
  const std::string reason = accuracy(1, "<answer>x" + umlauts + "</answer>").reason;
  EXPECT_NO_THROW(data::Json(reason).dump());
}

TEST(ThinkAnswerFormat, WantsEachTagOnceInOrder) {
  const struct {
    const char* text;
    double value;
  } cases[] = {
      {"<think>a</think><answer>b</answer>", 1},
      {" <think></think>\n<answer></answer>\n", 1},
      {"<think>a</think> so <answer>b</answer>", 0},
      {"x<think>a</think><answer>b</answer>", 0},
      {"<think>a</think><answer>b</answer>x", 0},
      {"<answer>b</answer><think>a</think>", 0},
      {"<think>a<answer>b</answer></think>", 0},
      {"<think>a</think><answer>b</answer><answer>c</answer>", 0},
      {"<think><think>a</think><answer>b</answer>", 0},
      {"<think>a</think><answer>b", 0},
      {"", 0},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    EXPECT_EQ(ThinkAnswerFormat().judge({}, completion(c.text)).value, c.value);
  }
  EXPECT_EQ(ThinkAnswerFormat().judge({}, completion(cases[0].text, FinishReason::kLength)).value,
            0.0);
}

}  // namespace
}  // namespace ponder::rewards
