// The rewards of form on other graders' labelled cases and on claims of our own.
#include "tests/rewards/math_cases.h"
#include "tests/rewards/support.h"

namespace ponder::rewards {
namespace {

double value(const char* reward, const std::string& text) {
  return make_reward(reward)->judge(prompt_with(nullptr), stopped(text)).value.value();
}
bool holds(const char* reward, const std::string& text) {
  return value(reward, text) == 1.0;
}

// The labelled cases come from TRL's and open-r1's own tests.
TEST(Format, TheLabelledCasesAgree) {
  int count = 0;
  for (const auto& entry : read_json_lines(math_cases_dir() / "format_cases.jsonl")) {
    const std::string check = entry["check"];
    if (entry["expected"].is_null() || !entry.contains("completion")) continue;
    const std::string text = entry["completion"];
    if (check == "think_format") {
      EXPECT_EQ(holds("think_format", text), entry["expected"] == 1.0) << text;
    } else if (check == "think_answer_format") {
      EXPECT_EQ(holds("format", text), entry["expected"] == 1.0) << text;
    } else if (check == "has_boxed") {
      EXPECT_EQ(holds("boxed", text), entry["expected"].get<bool>()) << text;
    } else if (check == "reasoning_accuracy") {
      const bool right =
          check_math(text, entry["gold"].get<std::string>()).status == MathStatus::kRight;
      EXPECT_EQ(right, entry["expected"] == 1.0) << text;
    } else {
      continue;
    }
    ++count;
  }
  EXPECT_GT(count, 0);
}

TEST(Format, EachTagStandsOnceInOrderWithNothingAround) {
  EXPECT_TRUE(holds("format", "<think> a </think> <answer> b </answer>"));
  EXPECT_TRUE(holds("format", "<think>a</think>\n\n<answer>b</answer>\n"));
  for (const char* text :
       {"x <think>a</think><answer>b</answer>", "<think>a</think> so <answer>b</answer>",
        "<think>a</think><answer>b</answer> !", "<answer>b</answer><think>a</think>",
        "<think>a</think><answer>b</answer><answer>c</answer>",
        "<think>a<think>b</think></think><answer>c</answer>",
        "<think>Wrong</answer><answer>order</think>"}) {
    EXPECT_FALSE(holds("format", text)) << text;
  }
}

TEST(Format, TagsAreCountedAsOpenR1Does) {
  EXPECT_DOUBLE_EQ(value("tag_count", "<think>\na\n</think>\n<answer>\nb\n</answer>"), 1.0);
  EXPECT_DOUBLE_EQ(value("tag_count", "<think>\na\n</think>\n"), 0.5);
  EXPECT_DOUBLE_EQ(value("tag_count", "<think>\na\n</think>\n<think>\n"), 0.25);
  EXPECT_DOUBLE_EQ(value("tag_count", ""), 0.0);
}

TEST(Format, OneAnswerIsOneTagOrOneBox) {
  EXPECT_TRUE(holds("one_answer", "<think>\\boxed{1}</think> \\boxed{2}"));
  EXPECT_TRUE(holds("one_answer", "<answer>\\boxed{1} or \\boxed{2}</answer>"));
  EXPECT_FALSE(holds("one_answer", "\\boxed{1} \\boxed{2}"));
  EXPECT_FALSE(holds("one_answer", "\\boxed{1"));
  EXPECT_FALSE(holds("one_answer", "<answer>1</answer><answer>2</answer>"));
  EXPECT_FALSE(holds("one_answer", "5"));
}

}  // namespace
}  // namespace ponder::rewards
