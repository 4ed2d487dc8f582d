#include "rewards/score_file.h"

#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/rewards/support.h"
#include "tests/support/process.h"

namespace ponder::rewards {
namespace {

using data::Json;

struct Scored {
  std::vector<Json> lines;
  ScoreSummary summary;
};

Scored score(const std::string& input, ScoreRequest request) {
  const Files files;
  request.input = files.write("in.jsonl", input);
  if (request.rewards.reward_weights.empty())
    request.rewards.reward_weights.assign(request.rewards.reward_funcs.size(), 1.0);
  const std::string path = files.path() / "out.jsonl";
  std::FILE* out = std::fopen(path.c_str(), "w");
  Scored result;
  result.summary = score_file(request, out);
  std::fclose(out);
  std::istringstream lines(test::read_text(path));
  for (std::string line; std::getline(lines, line);) result.lines.push_back(Json::parse(line));
  return result;
}

ScoreRequest with(std::vector<std::string> rewards) {
  ScoreRequest request;
  request.rewards.reward_funcs = std::move(rewards);
  return request;
}

TEST(ScoreFile, LinesComeOutInOrder) {
  std::string input;
  for (int i = 0; i < 5000; ++i)
    input += Json{{"prompt", "p"},
                  {"completion", fmt::format("<answer>{}</answer>", i)},
                  {"answer", i % 7 == 0 ? i + 1 : i}}
                 .dump() +
             "\n";
  const Scored got = score(input, with({"accuracy"}));
  ASSERT_EQ(got.lines.size(), 5000u);
  for (size_t i = 0; i < got.lines.size(); ++i)
    ASSERT_EQ(got.lines[i]["reward"], i % 7 == 0 ? 0.0 : 1.0) << i;
  EXPECT_EQ(got.summary.statuses.at("ok"), 5000u - 715u);
  EXPECT_EQ(got.lines[1]["status"], "ok");
  EXPECT_EQ(got.lines[1]["parts"]["accuracy"], 1.0);
  EXPECT_EQ(got.lines[7]["reason"], "answer 7, expected 8");
}

TEST(ScoreFile, AnUnusableGoldIsNull) {
  const Scored got = score(R"({"prompt": "", "completion": "<answer>1</answer>"})"
                           "\n",
                           with({"accuracy"}));
  EXPECT_TRUE(got.lines[0]["reward"].is_null());
  EXPECT_EQ(got.lines[0]["status"], "refused");
  EXPECT_EQ(got.summary.with_value, 0u);
}

TEST(ScoreFile, ACutCompletionHasNoAnswer) {
  const Scored got =
      score(R"({"completion": "<answer>1</answer>", "answer": 1, "finish_reason": "length"})"
            "\n",
            with({"accuracy"}));
  EXPECT_EQ(got.lines[0]["reward"], 0.0);
  EXPECT_EQ(got.lines[0]["status"], "unparsed");
}

TEST(ScoreFile, ACutCompletionIsJudgedWhereTheRecipeSaysSo) {
  const std::string input =
      R"({"completion": "so \\boxed{4}", "answer": 4, "finish_reason": "length"})";
  ScoreRequest request = with({"math"});
  EXPECT_EQ(score(input, request).lines[0]["reward"], 0.0);
  request.rewards.judge_truncated = true;
  EXPECT_EQ(score(input, request).lines[0]["reward"], 1.0);
}

TEST(ScoreFile, MathTakesItsOptions) {
  const std::string input = R"J({"completion": "\\boxed{f(y)}", "answer": "f(x)"})J"
                            "\n"
                            R"({"completion": "\\boxed{28}", "answer": "28\\%"})"
                            "\n"
                            R"({"completion": "\\boxed{0.333}", "answer": "1/3"})";
  const auto rewards = [&](const std::string& spec) {
    const Scored got = score(input, with({spec}));
    std::vector<double> out;
    for (const auto& line : got.lines) out.push_back(line["reward"]);
    return out;
  };
  EXPECT_THAT(rewards("math"), ::testing::ElementsAre(0, 1, 0));
  EXPECT_THAT(rewards("math{strict = false}"), ::testing::ElementsAre(1, 1, 0));
  EXPECT_THAT(rewards("math{percent_equals_decimal = false}"), ::testing::ElementsAre(0, 0, 0));
  EXPECT_THAT(rewards("math{float_rounding = 3}"), ::testing::ElementsAre(0, 1, 1));
}

TEST(ScoreFile, ExplainsEachReward) {
  ScoreRequest request = with({"accuracy", "format"});
  request.rewards.reward_weights = {1, 0.5};
  request.rewards.reward_gates = {"accuracy if format"};
  request.explain = true;
  const Scored got =
      score(R"({"prompt": "Q<think>\n", "completion": "x</think><answer>1</answer>", "answer": 1})"
            "\n"
            R"({"prompt": "Q", "completion": "x</think><answer>1</answer>", "answer": 1})"
            "\n",
            request);
  EXPECT_EQ(got.lines[0]["reward"], 1.5);  // the template opened <think>
  EXPECT_EQ(got.lines[1]["reward"], 0.0);  // the gate is shut
  EXPECT_EQ(got.lines[1]["parts"]["accuracy"], 1.0);
  EXPECT_EQ(got.lines[1]["explain"]["format"]["reason"], "<think> 0 times, expected once");
}

TEST(ScoreFile, PromptsChooseTheirRewards) {
  const Scored got = score(
      R"({"completion": "<think></think><answer>2</answer>", "answer": 1, "rewards": ["format"]})"
      "\n"
      R"({"completion": "<think></think><answer>2</answer>", "answer": 1, "rewards": ["frmat"]})"
      "\n",
      with({"accuracy", "format"}));
  EXPECT_EQ(got.lines[0]["reward"], 1.0);
  EXPECT_FALSE(got.lines[0]["parts"].contains("accuracy"));
  EXPECT_TRUE(got.lines[1]["reward"].is_null());
  EXPECT_THAT(got.lines[1]["reason"].get<std::string>(),
              ::testing::HasSubstr("did you mean 'format'?"));
}

TEST(ScoreFile, StopsWhenTooManyFail) {
  std::string input;
  for (int i = 0; i < 100; ++i)
    input += R"({"completion": "<answer>1</answer>"})"
             "\n";
  ScoreRequest request = with({"accuracy"});
  request.rewards.max_failure_share = 0.5;
  try {
    score(input, request);
    ADD_FAILURE();
  } catch (const core::RunError& error) {
    EXPECT_THAT(
        error.what(),
        ::testing::HasSubstr("rewards failed for 100 of the last 100 completions (100 refused)"));
  }
  request.rewards.max_failure_share = 1;
  EXPECT_EQ(score(input, request).summary.count, 100u);
}

TEST(ScoreFile, WrongInputNamesTheLine) {
  for (const char* line :
       {"nonsense", "[]", "{}", R"({"completion": 3})",
        R"({"completion": "", "finish_reason": "end"})", R"({"completion": "", "rewards": 3})",
        R"({"completion": "", "tokens": ["a"]})"}) {
    SCOPED_TRACE(line);
    try {
      score(std::string("{\"completion\": \"\"}\n") + line + "\n", with({"format"}));
      ADD_FAILURE();
    } catch (const core::UserError& error) {
      EXPECT_THAT(error.what(), ::testing::HasSubstr("in.jsonl:2: "));
    }
  }
  const std::string deep(100'000, '[');
  EXPECT_THROW(score(R"({"completion": "", "answer": )" + deep + "}", with({"format"})),
               core::UserError);
  EXPECT_THROW(score("", with({"format"})), core::UserError);
  EXPECT_THROW(score("{}", with({"fromat"})), core::UserError);
}

}  // namespace
}  // namespace ponder::rewards
