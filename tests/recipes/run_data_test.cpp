#include "recipes/run_data.h"

#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "tests/support/temp_dir.h"

namespace ponder::recipes {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr const char* kGroup =
    R"({"prompt":"1+1=?","completions":[{"text":"2","reward":1,"parts":{"accuracy":1}}]})";

class RunFolder : public ::testing::Test {
 protected:
  RunFolder() {
    fs::create_directories(run() / "completions");
    put("metrics.jsonl", "{\"step\":1,\"reward\":0.5}\n");
  }
  fs::path run() const { return dir_.path() / "my_run"; }
  void put(const std::string& name, const std::string& text) const {
    core::write_file_atomic(run() / name, text);
  }
  std::string error() const {
    try {
      load_run(run());
    } catch (const core::UserError& error) {
      return error.what();
    }
    return "no error";
  }

 private:
  test::TempDir dir_;
};

TEST_F(RunFolder, IsReadWhole) {
  put("recipe.toml", "seed = 1\n");
  put("completions/000002.jsonl", std::string(kGroup) + "\n" + kGroup + "\n");
  put("completions/000010.jsonl", std::string(kGroup) + "\n");
  put("completions/notes.txt", "not a step");
  const RunData data = load_run(run() / "");
  EXPECT_EQ(data.name, "my_run");
  EXPECT_EQ(data.recipe, "seed = 1\n");
  ASSERT_THAT(data.steps, SizeIs(1));
  ASSERT_THAT(data.completions, SizeIs(2));
  EXPECT_EQ(data.completions[0].step, 2);
  EXPECT_THAT(data.completions[0].groups, SizeIs(2));
  EXPECT_EQ(data.completions[1].step, 10);
  EXPECT_EQ(data.num_completion_steps, 2u);
}

TEST_F(RunFolder, RecipeAndCompletionsMayBeMissing) {
  fs::remove_all(run() / "completions");
  const RunData data = load_run(run());
  EXPECT_EQ(data.recipe, "");
  EXPECT_THAT(data.completions, SizeIs(0));
}

TEST_F(RunFolder, ALongRunKeepsItsFirstAndLastStep) {
  for (int step = 1; step <= 100; ++step)
    put(fmt::format("completions/{:06}.jsonl", step), std::string(kGroup) + "\n");
  const RunData data = load_run(run(), 20 * std::string(kGroup).size());
  EXPECT_LE(data.completions.size(), 20u);
  EXPECT_GE(data.completions.size(), 8u);
  EXPECT_EQ(data.completions.front().step, 1);
  EXPECT_EQ(data.completions.back().step, 100);
  EXPECT_EQ(data.num_completion_steps, 100u);
}

TEST_F(RunFolder, GroupsBeyondTheBudgetAreCounted) {
  std::string groups;
  for (int i = 0; i < 10; ++i) groups += std::string(kGroup) + "\n";
  put("completions/000001.jsonl", groups);
  const RunData data = load_run(run(), 3 * std::string(kGroup).size());
  EXPECT_THAT(data.completions.at(0).groups, SizeIs(3));
  EXPECT_EQ(data.num_groups_left_out, 7u);
  EXPECT_THAT(load_run(run(), 1).completions.at(0).groups, SizeIs(1));
}

TEST_F(RunFolder, ATornLastLineIsLeftOut) {
  put("completions/000001.jsonl", std::string(kGroup) + "\n{\"prompt\":\"1+");
  EXPECT_THAT(load_run(run()).completions.at(0).groups, SizeIs(1));
}

TEST_F(RunFolder, AMalformedGroupIsAnErrorWithItsPlace) {
  struct Case {
    const char* name;
    const char* line;
    const char* want;
  };
  const Case kCases[] = {
      {"NoJson", "oops", "000001.jsonl:2: expected one JSON object a line"},
      {"NoPrompt", R"({"completions":[]})",
       "000001.jsonl:2: expected \"prompt\", a string, found none"},
      {"PromptType", R"({"prompt":[],"completions":[]})",
       ":2: \"prompt\": expected a string, found array"},
      {"NoCompletions", R"({"prompt":""})", ":2: expected \"completions\", a list, found none"},
      {"NoObject", R"({"prompt":"","completions":[3]})",
       ":2: expected a completion, an object, found number"},
      {"NoText", R"({"prompt":"","completions":[{"reward":1}]})",
       ":2: expected \"text\", a string, found none"},
      {"Reward", R"({"prompt":"","completions":[{"text":"","reward":"1"}]})",
       ":2: \"reward\": expected a number, found string"},
      {"Part", R"({"prompt":"","completions":[{"text":"","parts":{"a":"b"}}]})",
       ":2: part \"a\": expected a number or null, found string"},
      {"NoUtf8", "{\"prompt\":\"\xff\",\"completions\":[]}", ":2: expected one JSON object a line"},
  };
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    put("completions/000001.jsonl", std::string(kGroup) + "\n" + c.line + "\n");
    EXPECT_THAT(error(), HasSubstr(c.want));
  }
}

TEST_F(RunFolder, NullMeansNotJudged) {
  put("completions/000001.jsonl",
      R"({"prompt":"","answer":null,"completions":[{"text":"","reward":null,"parts":{"accuracy":null}}]})"
      "\n");
  EXPECT_EQ(error(), "no error");
}

TEST_F(RunFolder, AMissingFolderIsAUserError) {
  fs::remove_all(run());
  EXPECT_THAT(error(), HasSubstr("no run in"));
}

TEST_F(RunFolder, AFolderWithoutMetricsIsAUserError) {
  fs::remove(run() / "metrics.jsonl");
  EXPECT_THAT(error(), HasSubstr("metrics.jsonl"));
}

TEST(RecipeValues, ReadsKeysOfTablesWithoutComments) {
  const auto values = recipe_values(
      "# head = 1\nstage = \"grpo\"  # the stage\n\n[grpo.loss]\nname = \"a # b\" # "
      "c\nbeta=0.0\r\n[data]\npath = 'x\\'\n");
  const std::map<std::string, std::string> want = {{"stage", "\"grpo\""},
                                                   {"grpo.loss.name", "\"a # b\""},
                                                   {"grpo.loss.beta", "0.0"},
                                                   {"data.path", "'x\\'"}};
  EXPECT_EQ(values, want);
  EXPECT_TRUE(recipe_values("").empty());
}

}  // namespace
}  // namespace ponder::recipes
