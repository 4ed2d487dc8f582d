#include <chrono>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/small_run.h"

namespace ponder {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

// One uninterrupted run that the others are compared with.
class Train : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new test::TempDir;
    outcome_ = new test::Outcome(test::run(test::small_run(whole())));
  }
  static void TearDownTestSuite() {
    delete folder_;
    delete outcome_;
  }
  static fs::path whole() { return folder_->path() / "whole"; }
  static fs::path other(const char* name) { return folder_->path() / name; }

  static void wait_for_steps(const fs::path& run, int64_t steps) {
    for (int i = 0; i < 3000; ++i) {
      if (fs::exists(run / "metrics.jsonl")) {
        const auto records = core::read_metrics(run / "metrics.jsonl");
        if (!records.empty() && records.back().step >= steps) return;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    FAIL() << "no step " << steps << " in " << run;
  }

  static test::TempDir* folder_;
  static test::Outcome* outcome_;
};

test::TempDir* Train::folder_ = nullptr;
test::Outcome* Train::outcome_ = nullptr;

TEST_F(Train, LeavesTheRunFolder) {
  ASSERT_EQ(outcome_->status, 0) << outcome_->err;
  for (const char* part :
       {"recipe.toml", "metrics.jsonl", "tensorboard", "completions/000006.jsonl", "report.html",
        "checkpoints/6/config.json", "checkpoints/6/model.safetensors",
        "checkpoints/6/tokenizer.json", "checkpoints/6/generation_config.json",
        "checkpoints/latest/model.safetensors"}) {
    EXPECT_TRUE(fs::exists(whole() / part)) << part;
  }
  const auto records = core::read_metrics(whole() / "metrics.jsonl");
  ASSERT_EQ(records.size(), 7u);
  for (const char* name :
       {"eval/accuracy", "eval/format", "eval/mean_length", "eval/sampled_accuracy"}) {
    EXPECT_TRUE(records.front().metrics.contains(name)) << name;
    EXPECT_TRUE(records.back().metrics.contains(name)) << name;
  }
  for (const char* name :
       {"reward", "reward_std", "rewards/accuracy/mean", "completions/mean_length", "kl", "entropy",
        "clip_ratio/region_mean", "grad_norm", "learning_rate", "num_tokens", "loss",
        "timing_s/sample", "timing_s/train", "sampling/sampling_logp_difference/max"}) {
    EXPECT_TRUE(records.back().metrics.contains(name)) << name;
  }
  // Sampler and trainer are the same weights and agree.
  for (size_t i = 1; i < records.size(); ++i) {
    EXPECT_LT(records[i].metrics.at("sampling/sampling_logp_difference/max"), 1e-4);
  }
}

TEST_F(Train, SpeaksPlainLinesWhereStdoutIsNoTerminal) {
  EXPECT_THAT(outcome_->out, HasSubstr("step 6/6 · reward"));
  EXPECT_THAT(outcome_->out, HasSubstr("accuracy, greedy"));
  EXPECT_THAT(outcome_->out, HasSubstr("before: "));
  EXPECT_THAT(outcome_->out, HasSubstr("report.html"));
  EXPECT_THAT(outcome_->out, Not(HasSubstr("\r")));
  EXPECT_THAT(outcome_->out, Not(HasSubstr("\x1b")));
}

TEST_F(Train, SameSeedSameBits) {
  ASSERT_EQ(test::run(test::small_run(other("again"))).status, 0);
  EXPECT_EQ(test::stable_metrics(other("again")), test::stable_metrics(whole()));
  EXPECT_EQ(test::read_text(other("again") / "checkpoints/6/model.safetensors"),
            test::read_text(whole() / "checkpoints/6/model.safetensors"));
  ASSERT_EQ(test::run(test::small_run(other("seed2"), {"--seed", "2"})).status, 0);
  EXPECT_NE(test::stable_metrics(other("seed2")), test::stable_metrics(whole()));
}

TEST_F(Train, GoesOnAfterMaxSteps) {
  const fs::path run = other("stopped");
  const test::Outcome first = test::run(test::small_run(run, {"--max-steps", "2"}));
  ASSERT_EQ(first.status, 0) << first.err;
  EXPECT_THAT(first.out, HasSubstr("stopped after step 2 of 6"));
  EXPECT_EQ(core::read_metrics(run / "metrics.jsonl").back().step, 2);
  ASSERT_EQ(test::run(test::small_run(run)).status, 0);
  EXPECT_EQ(test::stable_metrics(run), test::stable_metrics(whole()));
}

TEST_F(Train, GoesOnAfterKillNine) {
  const fs::path run = other("killed");
  for (const int64_t step : {1, 3, 4}) {
    test::Process process(test::small_run(run));
    wait_for_steps(run, step);
    process.send(SIGKILL);
    EXPECT_EQ(process.wait(), 128 + SIGKILL);
  }
  ASSERT_EQ(test::run(test::small_run(run)).status, 0);
  EXPECT_EQ(test::stable_metrics(run), test::stable_metrics(whole()));
  EXPECT_EQ(test::read_text(run / "checkpoints/6/model.safetensors"),
            test::read_text(whole() / "checkpoints/6/model.safetensors"));
  EXPECT_EQ(test::read_text(run / "completions/000005.jsonl"),
            test::read_text(whole() / "completions/000005.jsonl"));
}

TEST_F(Train, CtrlCFinishesTheStepAndSaves) {
  const fs::path run = other("interrupted");
  test::Process process(test::small_run(run));
  wait_for_steps(run, 1);
  process.send(SIGINT);
  EXPECT_EQ(process.wait(), 128 + SIGINT);
  EXPECT_THAT(process.out(), HasSubstr("the same command goes on from there"));
  EXPECT_TRUE(fs::exists(run / "checkpoints/latest/model.safetensors"));
  ASSERT_EQ(test::run(test::small_run(run)).status, 0);
  EXPECT_EQ(test::stable_metrics(run), test::stable_metrics(whole()));
}

TEST_F(Train, AFinishedRunIsNotTrainedAgain) {
  const std::string before = test::read_text(whole() / "metrics.jsonl");
  const test::Outcome again = test::run(test::small_run(whole()));
  EXPECT_EQ(again.status, 0);
  EXPECT_THAT(again.out, HasSubstr("finished"));
  EXPECT_THAT(again.out, HasSubstr("accuracy, greedy"));
  EXPECT_EQ(test::read_text(whole() / "metrics.jsonl"), before);
}

TEST_F(Train, KeepsTheNewestCheckpoints) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(whole() / "checkpoints"))
    names.push_back(entry.path().filename());
  EXPECT_THAT(names, ::testing::UnorderedElementsAre("5", "6", "latest"));
}

}  // namespace
}  // namespace ponder
