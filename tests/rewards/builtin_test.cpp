// The built-in rewards of form, match and length, by name as a recipe gives them.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "rewards/tags.h"
#include "rewards/text.h"
#include "tests/rewards/support.h"

namespace ponder::rewards {
namespace {

using data::FinishReason;
using data::Json;
using data::ScoreStatus;
using ::testing::HasSubstr;

Judgement judge(const std::string& spec, const std::string& text, const Json& answer = nullptr,
                const std::string& prompt = "") {
  return make_reward(spec)->judge(prompt_with(answer, prompt), stopped(text));
}

TEST(Text, PrefillIsWhatTheTemplateOpened) {
  EXPECT_EQ(text::prefill("Q\nAssistant:<think>\n"), "<think>\n");
  EXPECT_EQ(text::prefill("Q <reasoning> <think>"), "<reasoning> <think>");
  for (const char* prompt : {"", "Assistant:", "<|im_start|>assistant\n", "a > b", "x</think>",
                             "<>", "< think>", "is 3<4>"})
    EXPECT_EQ(text::prefill(prompt), "") << prompt;
}

TEST(Text, CodePointsAreReadOrReplaced) {
  const std::string text = "a\xC3\xBC\xE6\x95\xB0\xF0\x9F\x98\x80\xFF\xED\xA0\x80\xC0\xAFz\xE6";
  std::vector<uint32_t> got;
  for (size_t at = 0; at < text.size();) got.push_back(text::next_code_point(text, at));
  const std::vector<uint32_t> want = {'a',    0xFC,   0x6570, 0x1F600, 0xFFFD, 0xFFFD,
                                      0xFFFD, 0xFFFD, 0xFFFD, 0xFFFD,  'z',    0xFFFD};
  EXPECT_EQ(got, want);
}

TEST(Format, IsJudgedOnTheRenderedText) {
  EXPECT_EQ(judge("format", "a</think><answer>b</answer>", nullptr, "Q<think>\n").value, 1.0);
  EXPECT_EQ(judge("format", "a</think><answer>b</answer>", nullptr, "Q").value, 0.0);
  EXPECT_EQ(judge("accuracy", "7</answer>", 7, "Q<answer>").value, 1.0);
}

TEST(TagCount, IsAQuarterForEachTagOnItsLine) {
  EXPECT_EQ(judge("tag_count", "<think>\na\n</think>\n<answer>\nb\n</answer>").value, 1.0);
  EXPECT_EQ(judge("tag_count", "a\n</think>\n<answer>\nb\n</answer>", nullptr, "Q<think>\n").value,
            1.0);
  EXPECT_EQ(judge("tag_count", "<think>\na\n</think>\n<answer>\nb").value, 0.75);
  EXPECT_EQ(judge("tag_count", "<think>\n<think>\na").value, 0.0);
}

TEST(Boxed, WantsAClosedLastBox) {
  EXPECT_EQ(last_boxed(R"(a \boxed{\frac{1}{2}} b)"), R"(\frac{1}{2})");
  EXPECT_EQ(last_boxed(R"(\boxed{\}})"), R"(\})");
  EXPECT_EQ(last_boxed(R"(\boxed{1} and \boxed{2)"), std::nullopt);
  EXPECT_EQ(judge("boxed", R"(<think>\boxed{1}</think>none)").value, 0.0);
  EXPECT_EQ(judge("boxed", R"(<think></think>\boxed{1})").value, 1.0);
}

TEST(OneAnswer, RefusesNoneAndSeveral) {
  EXPECT_EQ(judge("one_answer", "<think></think><answer>1</answer>").value, 1.0);
  EXPECT_EQ(judge("one_answer", R"(so \boxed{1})").value, 1.0);
  EXPECT_EQ(judge("one_answer", R"(<think>\boxed{2}</think>\boxed{1})").value, 1.0);
  EXPECT_EQ(judge("one_answer", R"(\boxed{2} or \boxed{1})").value, 0.0);
  EXPECT_EQ(judge("one_answer", "<answer>1</answer><answer>1</answer>").value, 0.0);
  EXPECT_EQ(judge("one_answer", "1").value, 0.0);
  EXPECT_EQ(judge("one_answer", R"(<think>\boxed{1})").value, 0.0);
}

TEST(ExactMatch, ComparesTheFinalAnswer) {
  const struct {
    const char* text;
    Json answer;
    double value;
    ScoreStatus status;
  } cases[] = {
      {"<think>x</think><answer> New  York\n</answer>", "New York", 1, ScoreStatus::kOk},
      {R"(so \boxed{New York})", "New York", 1, ScoreStatus::kOk},
      {"New York", "New York", 1, ScoreStatus::kOk},
      {"<answer>new york</answer>", "New York", 0, ScoreStatus::kWrong},
      {"<answer>42</answer>", 42, 1, ScoreStatus::kOk},
      {"<answer>NYC</answer>", Json::array({"New York", "NYC"}), 1, ScoreStatus::kOk},
      {"New York <answer>Paris</answer>", "New York", 0, ScoreStatus::kWrong},
      {"<answer>New York</answer><answer>New York", "New York", 0, ScoreStatus::kUnparsed},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    EXPECT_EQ(judge("exact_match", c.text, c.answer).value, c.value);
    EXPECT_EQ(judge("exact_match", c.text, c.answer).status, c.status);
  }
  EXPECT_EQ(judge("exact_match{ignore_case = true}", "new york", "New York").value, 1.0);
  EXPECT_EQ(judge("exact_match", "x").value, std::nullopt);
  EXPECT_EQ(judge("exact_match", "x", Json::object()).status, ScoreStatus::kRefused);
  EXPECT_EQ(make_reward("exact_match")
                ->judge(prompt_with("a"), stopped("a", FinishReason::kLength))
                .value,
            0.0);
}

TEST(MultipleChoice, WantsOneLetter) {
  const struct {
    const char* text;
    double value;
    ScoreStatus status;
  } cases[] = {
      {"<answer>B</answer>", 1, ScoreStatus::kOk},
      {"<answer>(B)</answer>", 1, ScoreStatus::kOk},
      {"<answer>b.</answer>", 1, ScoreStatus::kOk},
      {"<answer>B) the second</answer>", 1, ScoreStatus::kOk},
      {R"(\boxed{\text{B}})", 1, ScoreStatus::kOk},
      {"I think the answer is (B).", 1, ScoreStatus::kOk},
      {"Answer: B", 1, ScoreStatus::kOk},
      {"**Answer: **B", 1, ScoreStatus::kOk},
      {"B", 1, ScoreStatus::kOk},
      {"<answer>A</answer>", 0, ScoreStatus::kWrong},
      {"<answer>A or B</answer>", 0, ScoreStatus::kWrong},
      {"<answer>B, C</answer>", 0, ScoreStatus::kWrong},
      {"<answer>A/B</answer>", 0, ScoreStatus::kWrong},
      {"the answer is A, no, the answer is B", 1, ScoreStatus::kOk},
      {"<think>the answer is B</think>", 0, ScoreStatus::kUnparsed},
      {"<answer>Both</answer>", 0, ScoreStatus::kUnparsed},
      {"<answer>B", 0, ScoreStatus::kUnparsed},
      {"", 0, ScoreStatus::kUnparsed},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    const Judgement got = judge("multiple_choice", c.text, "B");
    EXPECT_EQ(got.value, c.value) << got.reason;
    EXPECT_EQ(got.status, c.status) << got.reason;
  }
  for (const Json& gold : {Json(), Json("Paris"), Json(2)})
    EXPECT_EQ(judge("multiple_choice", "B", gold).value, std::nullopt);
}

TEST(Regex, MatchesInLinearTime) {
  EXPECT_EQ(judge(R"(regex{pattern = '\d+ apples'})", " 12 apples\n").value, 1.0);
  EXPECT_EQ(judge(R"(regex{pattern = '\d+ apples'})", "I have 12 apples").value, 0.0);
  EXPECT_EQ(judge(R"(regex{pattern = '\d+ apples', whole = false})", "I have 12 apples").value,
            1.0);
  EXPECT_EQ(judge("regex", "aab", "a+b").value, 1.0);
  EXPECT_EQ(judge("regex", "x").value, std::nullopt);
  EXPECT_EQ(judge("regex", "x", "(").status, ScoreStatus::kRefused);
  EXPECT_THROW(make_reward("regex{pattern = '('}"), core::UserError);
  EXPECT_EQ(judge("regex{pattern = '(a*)*b'}", std::string(1 << 20, 'a')).value, 0.0);
}

Judgement with_tokens(const std::string& spec, int64_t tokens,
                      const std::string& text = "<answer>1</answer>", const Json& answer = 1) {
  return make_reward(spec)->judge(prompt_with(answer, "", {{"completion_tokens", tokens}}),
                                  stopped(text));
}

TEST(Overlong, FollowsDaposEquation) {
  const std::string spec = "overlong{max_length = 100, cache = 20}";
  const struct {
    int64_t tokens;
    double value;
  } cases[] = {{0, 0}, {80, 0}, {81, -0.05}, {90, -0.5}, {100, -1}, {101, -1}, {5000, -1}};
  for (const auto& c : cases)
    EXPECT_DOUBLE_EQ(with_tokens(spec, c.tokens).value.value(), c.value) << c.tokens;
  data::Completion completion = stopped("x");
  completion.token_ids.assign(90, 7);
  EXPECT_DOUBLE_EQ(make_reward(spec)->judge({}, completion).value.value(), -0.5);
  EXPECT_EQ(make_reward(spec)->judge({}, stopped("x")).value, std::nullopt);
  EXPECT_THROW(make_reward("overlong{max_length = 10, cache = 20}"), core::UserError);
}

TEST(Cosine, RewardsShortRightAndLongWrongAnswers) {
  const std::string spec = "cosine{max_length = 100}", wrong = "<answer>2</answer>";
  EXPECT_DOUBLE_EQ(with_tokens(spec, 0).value.value(), 1.0);
  EXPECT_DOUBLE_EQ(with_tokens(spec, 50).value.value(), 0.75);
  EXPECT_DOUBLE_EQ(with_tokens(spec, 100).value.value(), 0.5);
  EXPECT_DOUBLE_EQ(with_tokens(spec, 200).value.value(), 0.5);
  EXPECT_DOUBLE_EQ(with_tokens(spec, 0, wrong).value.value(), -1.0);
  EXPECT_DOUBLE_EQ(with_tokens(spec, 25, wrong).value.value(),
                   -0.5 + -0.5 * (1 + std::sqrt(0.5)) / 2);
  EXPECT_DOUBLE_EQ(with_tokens(spec, 100, wrong).value.value(), -0.5);
  EXPECT_EQ(with_tokens(spec, 5, wrong, nullptr).value, std::nullopt);
}

// Counts by hand: "this is a" and so on.
TEST(Repetition, IsTheShareOfRepeatedNgrams) {
  EXPECT_DOUBLE_EQ(judge("repetition{ngram = 2}", "").value.value(), 0.0);
  EXPECT_DOUBLE_EQ(judge("repetition{ngram = 2}", "one").value.value(), 0.0);
  EXPECT_DOUBLE_EQ(judge("repetition{ngram = 2}", "all of these differ").value.value(), 0.0);
  EXPECT_DOUBLE_EQ(judge("repetition{ngram = 2}", "this this THIS this").value.value(), -2.0 / 3);
  EXPECT_DOUBLE_EQ(judge("repetition{ngram = 2, max_penalty = -0.5}", "a b a b a").value.value(),
                   -0.25);
  EXPECT_THROW(make_reward("repetition{max_penalty = 1}"), core::UserError);
}

TEST(MakeReward, NamesWhatIsWrongWithOptions) {
  const struct {
    const char *spec, *complaint;
  } cases[] = {
      {"overlong{max_lenght = 3}", "did you mean 'max_length'?"},
      {"overlong{max_length = 'x'}", "expected an integer"},
      {"overlong{max_length}", "reward overlong"},
      {"format{strict = true}", "unknown key"},
      {"overlnog", "did you mean 'overlong'?"},
      {"language{target = 'xx'}", "unknown target 'xx'"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.spec);
    try {
      make_reward(c.spec);
      ADD_FAILURE();
    } catch (const core::UserError& error) {
      EXPECT_THAT(error.what(), HasSubstr(c.complaint));
    }
  }
}

// Every built-in reward stands any bytes.
TEST(BuiltIns, StandHostileText) {
  using namespace std::string_literals;
  std::vector<std::string> texts = {"",
                                    "\0\0"s,
                                    "\xff\xfe",
                                    "<",
                                    "```",
                                    "```json\n",
                                    "\\",
                                    "\\boxed{",
                                    std::string(300'000, '{'),
                                    std::string(300'000, '['),
                                    std::string(300'000, '\\')};
  std::string tags, words;
  for (int i = 0; i < 20'000; ++i)
    tags += "<think></think><answer>\\boxed{", words += "the ```\n. \xE6\x95\xB0 A, B or ";
  texts.push_back(tags);
  texts.push_back(words);
  const data::Prompt prompt = prompt_with("B", "Q",
                                          {{"completion_tokens", 3},
                                           {"instruction_id_list", {"punctuation:no_comma"}},
                                           {"kwargs", {nullptr}}});
  for (const std::string& name : reward_names()) {
    if (name == "judge" || name == "reward_model") continue;  // they ask others: model_based_test
    const auto reward = make_reward(name);
    for (const std::string& text : texts) {
      const Judgement got = reward->judge(prompt, stopped(text));
      EXPECT_NE(got.status, ScoreStatus::kCrashed) << name << ": " << got.reason;
      EXPECT_TRUE(std::isfinite(got.value.value_or(0))) << name;
    }
  }
}

}  // namespace
}  // namespace ponder::rewards
