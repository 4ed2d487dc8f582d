// The code reward on whole data sets: canonical solutions score 1, mutants 0, in real boxes.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include <gtest/gtest.h>

#include "rewards/scorer.h"
#include "tests/rewards/support.h"

namespace ponder::rewards {
namespace {

using data::Json;

std::filesystem::path cases_folder() {
  const char* const given = std::getenv("PONDER_CASES");
  return std::filesystem::path(given != nullptr ? given : PONDER_SOURCE_DIR "/tests/cases") /
         "code";
}

std::vector<Json> lines_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::vector<Json> out;
  for (std::string line; std::getline(file, line);) out.push_back(Json::parse(line));
  return out;
}

// The tests of the stdin problems stand apart; another folder of cases may leave them out.
std::map<std::string, Json> stdio_problems() {
  const std::filesystem::path own = cases_folder() / "stdio_problems.jsonl";
  std::map<std::string, Json> out;
  for (const Json& line : lines_of(std::filesystem::exists(own) ? own
                                                                : PONDER_SOURCE_DIR
                                       "/tests/cases/code/stdio_problems.jsonl"))
    out.emplace(line["id"], line);
  return out;
}

struct Pair {
  data::Prompt prompt;
  data::Completion completion;
  double expected;
};

Pair pair_of(const std::string& id, Json answer, const Json& line, bool right) {
  const std::string language = answer["language"];
  Pair pair{prompt_with(std::move(answer)),
            stopped("```" + language + "\n" + line["code"].get<std::string>() + "\n```"),
            right ? 1.0 : 0.0};
  pair.prompt.id = id + " " + line["variant"].get<std::string>();
  return pair;
}

std::vector<Pair> pairs_of(const std::string& set) {
  std::vector<Pair> out;
  const auto problems = set == "stdio" ? stdio_problems() : std::map<std::string, Json>();
  for (const Json& line : lines_of(cases_folder() / (set + "_pairs.jsonl"))) {
    if (set == "stdio") {
      const auto problem = problems.find(line["problem"]);
      if (problem == problems.end()) continue;
      out.push_back(
          pair_of(line["problem"].get<std::string>() + " " + line["language"].get<std::string>(),
                  {{"language", line["language"]},
                   {"test_cases", problem->second["tests"]},
                   {"limits", problem->second["limits"]}},
                  line, line["passed"]));
    } else {
      out.push_back(pair_of(
          line["task_id"],
          {{"language", "python"}, {"tests", line["tests"]}, {"entry_point", line["entry_point"]}},
          line, line["expected"] == "pass"));
    }
  }
  return out;
}

class CodeCases : public ::testing::TestWithParam<const char*> {};

TEST_P(CodeCases, CanonicalSolutionsScoreOneAndMutantsZero) {
  const std::vector<Pair> pairs = pairs_of(GetParam());
  ASSERT_FALSE(pairs.empty());
  const Scorer scorer({.reward_funcs = {"code"}, .reward_weights = {1.0}});
  ScoringPool pool(scorer, 4);
  pool.start(1, pairs.size());
  for (size_t i = 0; i < pairs.size(); ++i) pool.submit(0, i, pairs[i].prompt, pairs[i].completion);
  const auto scores = pool.finish();
  for (size_t i = 0; i < pairs.size(); ++i) {
    EXPECT_EQ(scores[0][i].value, pairs[i].expected)
        << pairs[i].prompt.id << ": " << scores[0][i].reason;
  }
}

INSTANTIATE_TEST_SUITE_P(Sets, CodeCases, ::testing::Values("humaneval", "mbpp", "stdio"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace ponder::rewards
