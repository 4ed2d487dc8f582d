// The countdown verifier, against Python's fractions on random expressions and against the rules of
// the game by hand.
#include "rewards/countdown.h"

#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include "core/random.h"
#include "data/tasks.h"
#include "tests/rewards/support.h"
#include "tests/support/process.h"

namespace ponder::rewards {
namespace {

using data::ScoreStatus;

Judgement judge(const std::string& text,
                const data::Json& columns = {{"nums", {3, 5, 8}}, {"target", 23}}) {
  data::Prompt prompt;
  prompt.columns = columns;
  return Countdown().judge(prompt, stopped(text));
}

TEST(Countdown, TakesAnyRightExpression) {
  for (const char* answer : {"3*5+8", "8+5*3", "(3 * 5) + 8 = 23", "3×5+8", "3 \\times 5 + 8",
                             "\\left(3 \\cdot 5\\right)+8", "$3*5+8$", "-(-8)+[3*5]"}) {
    const Judgement judged = judge(std::string("<think>hm</think><answer>") + answer + "</answer>");
    EXPECT_EQ(judged.value, 1.0) << answer << ": " << judged.reason;
    EXPECT_EQ(judged.status, ScoreStatus::kOk);
  }
  EXPECT_EQ(judge("so \\boxed{8 + 3 * 5}").value, 1.0);
}

TEST(Countdown, EveryNumberOnceAndNoOther) {
  for (const char* answer : {"23", "3*5+8+0", "8+5+5+5", "3*5+8*1", "15+8", "35-8-4"}) {
    const Judgement judged = judge(std::string("<answer>") + answer + "</answer>");
    EXPECT_EQ(judged.value, 0.0) << answer;
    EXPECT_EQ(judged.status, ScoreStatus::kWrong) << answer;
  }
  EXPECT_EQ(judge("<answer>2+2</answer>", {{"nums", {2, 2}}, {"target", 4}}).value, 1.0);
  EXPECT_EQ(judge("<answer>2*2</answer>", {{"nums", {2}}, {"target", 4}}).value, 0.0);
}

TEST(Countdown, TheValueIsExact) {
  EXPECT_EQ(judge("<answer>8/(3-5/2)</answer>", {{"nums", {8, 3, 5, 2}}, {"target", 16}}).value, 1);
  EXPECT_EQ(judge("<answer>5/3*8</answer>", {{"nums", {3, 5, 8}}, {"target", 13}}).value, 0.0);
  EXPECT_EQ(judge("<answer>3+5+8 = 23</answer>").value, 0.0);
}

TEST(Countdown, WhatIsNoExpressionIsUnparsed) {
  for (const char* answer :
       {"", "3+", "3*(5+8", "abc", "3**5", "3^5", "8/(3-3)*5", "3 5 8", "1e3", "3.0*5+8",
        "3*5+8 = 24", "9223372036854775808+3", "__import__('os')"}) {
    const Judgement judged = judge(std::string("<answer>") + answer + "</answer>");
    EXPECT_EQ(judged.value, 0.0) << answer;
    EXPECT_EQ(judged.status, ScoreStatus::kUnparsed) << answer << ": " << judged.reason;
    EXPECT_FALSE(judged.reason.empty());
  }
  EXPECT_EQ(judge("3*5+8").status, ScoreStatus::kUnparsed);
}

TEST(Countdown, HostileTextEndsAtOnce) {
  EXPECT_EQ(judge("<answer>" + std::string(1'000'000, '(') + "</answer>").value, 0.0);
  EXPECT_EQ(judge("<answer>" + std::string(900, '(') + "</answer>").value, 0.0);
  EXPECT_EQ(judge("<answer>" + std::string(999, '-') + "3</answer>").value, 0.0);
  std::string power = "9";
  for (int i = 0; i < 400; ++i) power += "*9";
  EXPECT_EQ(judge("<answer>" + power + "</answer>").status, ScoreStatus::kUnparsed);
}

TEST(Countdown, APromptWithoutTheColumnsGetsNoValue) {
  EXPECT_EQ(judge("<answer>1</answer>", data::Json::object()).value, std::nullopt);
  EXPECT_EQ(judge("<answer>1</answer>", {{"nums", "3"}, {"target", 1}}).status,
            ScoreStatus::kRefused);
}

TEST(Countdown, TheTasksOwnSolutionsAreRight) {
  for (int64_t i = 0; i < 300; ++i) {
    const data::Prompt prompt = data::task_problem("countdown", 3, i, {}, data::Split::kTrain);
    const auto answer = "<answer>" + prompt.answer.get<std::string>() + "</answer>";
    EXPECT_EQ(Countdown().judge(prompt, stopped(answer)).value, 1.0) << answer;
  }
}

// A random expression over small numbers, unary minus included.
std::string random_expression(core::Rng& rng, int depth) {
  if (depth == 0 || rng.chance(0.3)) return std::to_string(rng.integer(0, 30));
  const std::string left = random_expression(rng, depth - 1);
  const std::string right = random_expression(rng, depth - 1);
  const std::string both =
      left + std::string(1, "+-*/"[rng.integer(0, 3)]) + (rng.chance(0.1) ? "-" : "") + right;
  return rng.chance(0.5) ? "(" + both + ")" : both;
}

TEST(CountdownExpression, ValuesArePythonsFractions) {
  const test::TempDir dir;
  std::vector<std::string> expressions;
  core::Rng rng(11, 0);
  std::ofstream file(dir.path() / "lines");
  for (int i = 0; i < 2000; ++i) {
    expressions.push_back(random_expression(rng, 4));
    file << expressions.back() << '\n';
  }
  file.close();
  const auto outcome = test::run(
      {"python3", "-c",
       "import re, sys\nfrom fractions import Fraction as F\n"
       "for line in open(sys.argv[1]):\n"
       "  try: v = eval(re.sub(r'(\\d+)', r'F(\\1)', line)); print(v.numerator, v.denominator)\n"
       "  except ZeroDivisionError: print('none')\n",
       (dir.path() / "lines").string()});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  std::istringstream lines(outcome.out);
  for (const std::string& expression : expressions) {
    std::string expected, problem;
    std::getline(lines, expected);
    const auto found = parse_countdown(expression, problem);
    const std::string text =
        found ? fmt::format("{} {}", found->numerator, found->denominator) : "none";
    EXPECT_EQ(text, expected) << expression << ' ' << problem;
  }
}

}  // namespace
}  // namespace ponder::rewards
