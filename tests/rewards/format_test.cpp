// The rewards of form on other graders' labelled cases and on claims of our own.
#include "rewards/fence.h"
#include "tests/rewards/math_cases.h"
#include "tests/rewards/support.h"

namespace ponder::rewards {
namespace {

double value(const std::string& reward, const std::string& text) {
  return make_reward(reward)->judge(prompt_with(nullptr), stopped(text)).value.value();
}
bool holds(const std::string& reward, const std::string& text) {
  return value(reward, text) == 1.0;
}

// The cosine reward at its defaults (those of the cases) of a right or wrong completion so long.
double cosine(int64_t tokens, bool right) {
  data::Completion completion = stopped(right ? "<answer>1</answer>" : "<answer>2</answer>");
  return make_reward("cosine{max_length = 100}")
      ->judge(prompt_with(1, "", {{"completion_tokens", tokens}}), completion)
      .value.value();
}

// The labelled cases come from TRL's and open-r1's own tests.
TEST(Format, TheLabelledCasesAgree) {
  int count = 0;
  for (const auto& entry : read_json_lines(math_cases_dir() / "format_cases.jsonl")) {
    const std::string check = entry["check"];
    if (entry["expected"].is_null()) continue;
    if (!entry.contains("completion")) {
      if (!check.starts_with("cosine_scaled max_len=100 correct 0.5..1.0 wrong -1.0..-0.5"))
        continue;
      EXPECT_NEAR(cosine(entry["completion_tokens"], entry["correct"]),
                  entry["expected"].get<double>(), 1e-9);
      ++count;
      continue;
    }
    const std::string text = entry["completion"];
    double penalty = 0;
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
    } else if (check == "valid_json") {
      EXPECT_EQ(holds("json_schema", text), entry["expected"].get<bool>()) << text.substr(0, 80);
    } else if (check == "extract_code") {
      EXPECT_EQ(last_fenced(text, {"python", "py"}).value_or(""), entry["expected"]) << text;
    } else if (int ngram = 0; std::sscanf(check.c_str(), "repetition_penalty_ngram%d_max%lf",
                                          &ngram, &penalty) == 2) {
      EXPECT_NEAR(
          value(fmt::format("repetition{{ngram = {}, max_penalty = {:.3f}}}", ngram, penalty),
                text),
          entry["expected"].get<double>(), 1e-6)
          << text;
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
