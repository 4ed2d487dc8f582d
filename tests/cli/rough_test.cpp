// What happens to runs in real life: copied folders, kills at the very start, damaged side files,
// closed pipes.
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/small_run.h"

namespace ponder {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> shell(const std::vector<std::string>& words, const std::string& rest) {
  std::string command;
  for (const std::string& word : words) command += "'" + word + "' ";
  return {"sh", "-c", command + rest};
}

// A run of two of three steps, without evaluations.
class RoughRun : public ::testing::Test {
 protected:
  void SetUp() override {
    const test::Outcome outcome = test::run(words({"--max-steps", "2"}));
    ASSERT_EQ(outcome.status, 0) << outcome.err;
  }
  std::vector<std::string> words(std::vector<std::string> more = {}) const {
    more.insert(more.end(), {"grpo.max_steps=3", "eval.num_prompts=0"});
    return test::small_run(run_, more);
  }
  test::TempDir folder_;
  fs::path run_ = folder_.path() / "run";
};

TEST_F(RoughRun, GoesOnFromTheNewestCheckpointWhereTheLinkIsMissing) {
  fs::remove(run_ / "checkpoints/latest");
  const test::Outcome outcome = test::run(words());
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("going on after step 2"));
}

TEST_F(RoughRun, LeavesACopyThatFollowedLinksAlone) {
  const fs::path copy = run_ / "checkpoints/latest";
  fs::remove(copy);
  fs::copy(run_ / "checkpoints/2", copy);
  const test::Outcome outcome = test::run(words());
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.err, HasSubstr("latest is no link"));
  EXPECT_TRUE(fs::exists(run_ / "checkpoints/2/model.safetensors"));
}

TEST_F(RoughRun, KeepsFoldersThatAPersonAdded) {
  fs::create_directory(run_ / "checkpoints/3.bak");
  EXPECT_EQ(test::run(words()).status, 0);
  EXPECT_TRUE(fs::exists(run_ / "checkpoints/3.bak"));
}

TEST_F(RoughRun, NamesADamagedTrainerState) {
  for (const char* text : {"{}", "[1]", "{\"counters\": 1e999}", "{"}) {
    std::ofstream(run_ / "checkpoints/2/trainer.json") << text;
    const test::Outcome outcome = test::run(words());
    EXPECT_EQ(outcome.status, 2) << text;
    EXPECT_THAT(outcome.err, HasSubstr("trainer.json")) << text;
  }
}

TEST_F(RoughRun, SaysWhereMetricsAreLost) {
  fs::remove(run_ / "metrics.jsonl");
  const test::Outcome outcome = test::run(words());
  EXPECT_EQ(outcome.status, 0);
  EXPECT_THAT(outcome.err, HasSubstr("the lines between are lost"));
}

TEST_F(RoughRun, AReportThatCannotBeMadeIsAWarning) {
  std::ofstream(run_ / "completions/000001.jsonl") << "nonsense\n";
  const test::Outcome outcome = test::run(words());
  EXPECT_EQ(outcome.status, 0);
  EXPECT_THAT(outcome.err, HasSubstr("warning: the run is saved"));
}

TEST(RoughStart, AFolderOfAKilledStartIsTaken) {
  const test::TempDir folder;
  std::ofstream(folder.path() / ".lock");
  std::ofstream(folder.path() / "recipe.toml.part") << "half";
  EXPECT_EQ(
      test::run(test::small_run(folder.path(), {"grpo.max_steps=1", "eval.num_prompts=0"})).status,
      0);
}

TEST(RoughPipes, ATrainingOutlivesTheReaderOfItsProgress) {
  const test::TempDir folder;
  const auto words = test::small_run(folder.path() / "run", {"eval.num_prompts=0"});
  test::run(shell(words, "| head -n 1"));
  EXPECT_EQ(core::read_metrics(folder.path() / "run/metrics.jsonl").back().step, 6);
}

TEST(RoughPipes, AClosedStdoutDoesNotReachTheRunsFiles) {
  const test::TempDir folder;
  const auto words =
      test::small_run(folder.path() / "run", {"grpo.max_steps=1", "eval.num_prompts=0"});
  EXPECT_EQ(test::run(shell(words, ">&-")).status, 0);
  EXPECT_EQ(test::read_text(folder.path() / "run/.lock"), "");
}

TEST(RoughPipes, LostResultsAreAFailure) {
  EXPECT_EQ(test::run(shell({test::kPonder, "doctor", "--json"}, "> /dev/full")).status, 1);
}

TEST(RoughNumbers, HugeOnesAreHandledOrRefused) {
  const std::vector<std::string> sample = {test::kPonder, "sample",
                                           "--model",     "examples/tiny-v3-base",
                                           "--prompt",    "User: 1+2=?\nAssistant:"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), sample.begin(), sample.end());
    return test::run(more).status;
  };
  EXPECT_EQ(with({"--max-new-tokens", "2147483647"}), 0);
  EXPECT_EQ(with({"--max-new-tokens", "9223372036854775807"}), 2);
  EXPECT_EQ(with({"--temperature", "nan"}), 2);
  EXPECT_EQ(with({"--top-p", "nan"}), 2);
  EXPECT_EQ(with({"--seed", "-1"}), 2);
  const test::TempDir folder;
  for (const char* word :
       {"optimizer.learning_rate=inf", "grpo.temperature=inf", "optimizer.adam_beta1=1.0",
        "seed=99999999999999999999", "grpo.max_steps=3\ngrpo.seed=4"}) {
    EXPECT_EQ(test::run(test::small_run(folder.path() / "run", {word})).status, 2) << word;
  }
}

TEST(RoughData, PromptsThatDoNotFitAreFoundAtTheStart) {
  const test::TempDir folder;
  const std::string data = folder.path() / "data.jsonl";
  std::ofstream file(data);
  for (int i = 0; i < 20; ++i) file << "{\"prompt\": \"1+" << i << "=?\", \"answer\": 1}\n";
  file << "{\"prompt\": \"" << std::string(3000, '7') << "\", \"answer\": 1}\n";
  file.close();
  const test::Outcome outcome =
      test::run(test::small_run(folder.path() / "run", {"dataset.name=" + data, "--check"}));
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.err, HasSubstr("prompt '21' has"));
}

}  // namespace
}  // namespace ponder
