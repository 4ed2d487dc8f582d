// What ponder saves, transformers loads, and both give the same numbers.
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include <gtest/gtest.h>

#include "tests/support/small_run.h"

namespace ponder {
namespace {

using Json = nlohmann::json;

class Transformers : public ::testing::Test {
 protected:
  void SetUp() override {
    if (test::oracle_python().empty())
      GTEST_SKIP() << "PONDER_ORACLE_PYTHON is not set: `make test` sets it where tools/oracle "
                      "could install transformers";
  }
  static void expect_agreement(const std::string& model) {
    const test::Outcome outcome = test::run(
        {test::oracle_python(), "tests/cli/compare_transformers.py", test::kPonder, model});
    EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
  }
};

TEST_F(Transformers, AgreesOnTheShippedBaseModel) {
  expect_agreement("examples/tiny-v3-base");
}

// A sequence classifier is a reward: the scores of `ponder score` are transformers' own.
TEST_F(Transformers, AgreesOnRewardModels) {
  const test::TempDir folder;
  const std::string dir = folder.path().string();
  const test::Outcome made =
      test::run({test::oracle_python(), "tests/recipes/make_reward_models.py", dir});
  ASSERT_EQ(made.status, 0) << made.err;
  const Json scores = Json::parse(test::read_text(dir + "/scores.json"));
  std::ofstream lines(dir + "/in.jsonl");
  for (const std::string text : scores["texts"])  // the border between the two is of no account
    lines << Json{{"prompt", text.substr(0, 1)}, {"completion", text.substr(1)}}.dump() << "\n";
  lines.close();
  for (const char* name : {"Llama", "Qwen2", "DeepseekV3"}) {
    SCOPED_TRACE(name);
    const test::Outcome scored = test::run({test::kPonder, "score", "--reward",
                                            "reward_model{model = '" + dir + "/" + name + "'}",
                                            "--input", dir + "/in.jsonl"});
    ASSERT_EQ(scored.status, 0) << scored.err;
    std::istringstream out(scored.out);
    size_t i = 0;
    for (std::string line; std::getline(out, line); ++i)
      EXPECT_NEAR(Json::parse(line)["reward"].get<double>(), scores[name][i].get<double>(), 1e-4);
    EXPECT_EQ(i, scores["texts"].size());
  }
}

TEST_F(Transformers, AgreesOnACheckpoint) {
  const test::TempDir folder;
  const auto run = folder.path() / "run";
  ASSERT_EQ(test::run(test::small_run(run, {"--max-steps", "2", "eval.num_prompts=0"})).status, 0);
  expect_agreement((run / "checkpoints/latest").string());
}

}  // namespace
}  // namespace ponder
