// The verbs as a person gives them, and the examples as their READMEs give them.
#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/process.h"

namespace ponder {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

test::Outcome reward_test(const std::string& spec, const std::string& cases = "") {
  std::vector<std::string> words = {REWARD_VERBS, "reward", "test", spec};
  if (!cases.empty()) words.insert(words.end(), {"--cases", cases});
  return test::run(words);
}

TEST(RewardNew, WritesAPluginThatPassesItsOwnTest) {
  for (const char* language : {"python", "cpp", "c"}) {
    SCOPED_TRACE(language);
    const test::TempDir folder;
    const std::string path = folder.path() / "last_word";
    ASSERT_EQ(test::run({REWARD_VERBS, "reward", "new", path, "--lang", language}).status, 0);
    const test::Outcome made =
        test::run({"make", "-s", "-C", path, "test", std::string("PONDER=") + REWARD_VERBS});
    EXPECT_EQ(made.status, 0) << made.out << made.err;
    EXPECT_THAT(made.out, HasSubstr("4 cases"));
    EXPECT_EQ(test::run({REWARD_VERBS, "reward", "new", path, "--lang", language}).status, 2);
  }
  EXPECT_THAT(test::run({REWARD_VERBS, "reward", "new", "x", "--lang", "pyton"}).err,
              HasSubstr("did you mean 'python'?"));
  EXPECT_EQ(test::run({REWARD_VERBS, "reward", "new", "no-name"}).status, 2);
}

TEST(Examples, PassTheContract) {
  const test::TempDir folder;
  const std::string cpp = folder.path() / "brackets.so", c = folder.path() / "length_band.so";
  ASSERT_EQ(std::system(
                ("g++ -std=c++20 -O2 -shared -fPIC -I. examples/reward_cpp/brackets.cpp -o " + cpp)
                    .c_str()),
            0);
  ASSERT_EQ(
      std::system(("cc -O2 -shared -fPIC -I. examples/reward_c/length_band.c -o " + c).c_str()), 0);
  const struct {
    std::string spec, folder;
  } examples[] = {
      {"examples/reward_python/keywords.py:reward", "reward_python"},
      {cpp, "reward_cpp"},
      {c, "reward_c"},
      {"python3 examples/reward_program/distinct.py", "reward_program"},
  };
  for (const auto& example : examples) {
    SCOPED_TRACE(example.spec);
    const std::string cases = "examples/" + example.folder + "/cases.jsonl";
    const test::Outcome scored =
        test::run({REWARD_VERBS, "score", "--reward", example.spec, "--input", cases, "--explain"});
    EXPECT_EQ(scored.status, 0) << scored.err;
    EXPECT_THAT(scored.err, Not(HasSubstr("crashed")));
    const test::Outcome outcome = reward_test(example.spec, cases);
    EXPECT_THAT(outcome.out, HasSubstr("ok      the cases have their expected rewards"));
    EXPECT_EQ(outcome.status, 0) << outcome.out;
  }
}

TEST(RewardTest, NamesWhatIsBroken) {
  const struct {
    const char *name, *body, *finding;
  } plugins[] = {
      {"exception", "raise ValueError('no')", "ValueError: no"},
      {"hang", "import time; time.sleep(100)", "timeout: no reply within 0.05 s"},
      {"crash", "import os; os.abort()", "signal 6"},
      {"wrong count", "return [1.0]*(len(completions)+1)", "rewards for"},
      {"nan", "return [float('nan')]*len(completions)", "the reward is nan"},
      {"order", "return list(range(len(completions)))",
       "BROKEN  gives each completion its own reward"},
      {"dice", "import random; return [random.random() for c in completions]",
       "BROKEN  repeats itself"},
      {"odd", "return [float(len(c.encode())) if c else 1/0 for c in completions]",
       "an empty completion: crashed: ZeroDivisionError"},
  };
  for (const auto& plugin : plugins) {
    SCOPED_TRACE(plugin.name);
    const test::TempDir folder;
    const std::string file = folder.path() / "r.py", cases = folder.path() / "cases.jsonl";
    std::ofstream(file) << "def reward(prompts, completions, **columns):\n    " << plugin.body
                        << "\n";
    std::ofstream(cases) << "{\"completion\": \"a\"}\n{\"completion\": \"bc\"}\n";
    const test::Outcome outcome = reward_test(
        file + (std::string(plugin.name) == "hang" ? "{deadline_s = 0.05, workers = 8}" : ""),
        cases);
    EXPECT_EQ(outcome.status, 1) << outcome.out;
    EXPECT_THAT(outcome.out, HasSubstr(plugin.finding));
  }
  EXPECT_THAT(reward_test("nowhere.py").out, HasSubstr("BROKEN  loads"));
}

TEST(RewardTest, AFloodOfOutputIsNamed) {
  const test::TempDir folder;
  const std::string file = folder.path() / "flood";
  std::ofstream(file)
      << "#!/bin/sh\nwhile read -r line; do yes '{\"reward\": 1}' | head -c 100000000; done\n";
  std::filesystem::permissions(file, std::filesystem::perms::owner_all);
  const test::Outcome outcome = reward_test(file);
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.out, HasSubstr("wrote more than one reply a record"));
}

TEST(Verbs, HaveHelpWithAnExample) {
  for (const std::vector<std::string>& verb :
       std::vector<std::vector<std::string>>{{"score"}, {"reward", "new"}, {"reward", "test"}}) {
    std::vector<std::string> words = {REWARD_VERBS};
    words.insert(words.end(), verb.begin(), verb.end());
    words.emplace_back("--help");
    EXPECT_THAT(test::run(words).out, HasSubstr("Example:"));
  }
}

TEST(Score, WrongUseIsExitStatusTwo) {
  EXPECT_EQ(
      test::run({REWARD_VERBS, "score", "--reward", "format", "--input", "nowhere.jsonl"}).status,
      2);
  EXPECT_EQ(test::run({REWARD_VERBS, "score", "--input", "nowhere.jsonl"}).status, 2);
  EXPECT_EQ(test::run({REWARD_VERBS, "score", "--reward", "formt", "--input",
                       "examples/reward_c/cases.jsonl"})
                .status,
            2);
}

}  // namespace
}  // namespace ponder
