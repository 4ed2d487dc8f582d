// `ponder train` on several workers, as real processes: the same run whatever their number, and how
// it ends when one of them fails.
#include <cmath>
#include <nlohmann/json.hpp>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/timer.h"
#include "tests/support/worker_run.h"

namespace ponder {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::vector<std::string> words(const fs::path& run, int workers,
                               std::vector<std::string> more = {}) {
  more.insert(more.begin(), {"--workers", std::to_string(workers)});
  return test::worker_run(run, more);
}

using test::metrics_of;
using test::process_with;
using test::processes_of;

class Workers : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new test::TempDir;
    outcome_ = new test::Outcome(test::run(words(of(1), 1)));
  }
  static void TearDownTestSuite() {
    delete folder_;
    delete outcome_;
  }
  static fs::path other(const std::string& name) { return folder_->path() / name; }
  static fs::path of(int workers) { return other(fmt::format("of{}", workers)); }
  // Trains with these options on one worker and on several, into NAME1 and NAME<workers>.
  static void expect_same_on(int workers, const std::string& name,
                             const std::vector<std::string>& more);

  static test::TempDir* folder_;
  static test::Outcome* outcome_;
};
test::TempDir* Workers::folder_ = nullptr;
test::Outcome* Workers::outcome_ = nullptr;

void expect_same_curve(const fs::path& run, const fs::path& one) {
  const auto found = metrics_of(run), wanted = metrics_of(one);
  ASSERT_EQ(found.size(), wanted.size());
  for (size_t i = 0; i < found.size(); ++i) {
    for (const auto& [name, value] : wanted[i].metrics) {
      if (core::depends_on_machine(name)) continue;
      ASSERT_TRUE(found[i].metrics.contains(name)) << name;
      EXPECT_NEAR(found[i].metrics.at(name), value, 2e-4 * (1 + std::abs(value)))
          << name << " of step " << found[i].step;
    }
  }
}

void Workers::expect_same_on(int workers, const std::string& name,
                             const std::vector<std::string>& more) {
  const auto run = [&](int count) { return other(name + std::to_string(count)); };
  for (const int count : {1, workers}) {
    const test::Outcome outcome = test::run(words(run(count), count, more));
    ASSERT_EQ(outcome.status, 0) << outcome.err;
  }
  expect_same_curve(run(workers), run(1));
}

TEST_F(Workers, AnyNumberGivesTheSameRun) {
  ASSERT_EQ(outcome_->status, 0) << outcome_->err;
  for (const int workers : {2, 3, 4}) {
    const test::Outcome outcome = test::run(words(of(workers), workers));
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    expect_same_curve(of(workers), of(1));
    // The first step is sampled by the same weights: the same tokens, scores and advantages.
    EXPECT_EQ(test::read_text(of(workers) / "completions/000001.jsonl"),
              test::read_text(of(1) / "completions/000001.jsonl"));
    const auto first = metrics_of(of(workers))[1].metrics, one = metrics_of(of(1))[1].metrics;
    for (const char* name : {"loss", "grad_norm", "kl", "entropy"})
      EXPECT_NEAR(first.at(name), one.at(name), 2e-6 * (1 + std::abs(one.at(name)))) << name;
    EXPECT_EQ(first.at("num_tokens"), one.at("num_tokens"));
  }
}

TEST_F(Workers, RankZeroTalksAndTheOthersLog) {
  const fs::path run = other("talk");
  const test::Outcome outcome = test::run(words(run, 2, {"--max-steps", "1"}));
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr(", 2 workers"));
  EXPECT_EQ(outcome.out.find("step 1/"), outcome.out.rfind("step 1/"));
  EXPECT_TRUE(fs::exists(run / "logs/rank-1.log"));
  EXPECT_FALSE(fs::exists(run / "logs/rank-0.log"));
  const auto metrics = metrics_of(run).back().metrics;
  for (const char* name :
       {"timing_s/train", "timing_s/min/train", "timing_s/max/train", "timing_s/exchange",
        "perf/communication_s", "perf/communication_under_way_s", "perf/communication_bytes"})
    EXPECT_TRUE(metrics.contains(name)) << name;
  EXPECT_LE(metrics.at("timing_s/min/train"), metrics.at("timing_s/max/train"));
  EXPECT_GT(metrics.at("perf/communication_bytes"), 1e5);
}

TEST_F(Workers, SavedByThreeGoesOnWithTwo) {
  const fs::path run = other("resized");
  ASSERT_EQ(test::run(words(run, 3, {"--max-steps", "2"})).status, 0);
  const test::Outcome outcome = test::run(words(run, 2));
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("made by 3 workers and goes on with 2"));
  expect_same_curve(run, of(1));
}

TEST_F(Workers, AKilledWorkerEndsTheJobAndTheSameCommandGoesOnWithTheSameBits) {
  ASSERT_EQ(test::run(words(other("whole2"), 2)).status, 0);
  const fs::path run = other("killed");
  test::Process job(words(run, 2));
  ASSERT_TRUE(test::wait_for_steps(run, 1)) << job.err();
  const core::Stopwatch watch;
  ::kill(process_with(run, "RANK=1"), SIGKILL);
  EXPECT_EQ(job.wait(), 1);
  EXPECT_LT(watch.seconds(), 15);
  EXPECT_THAT(job.err(), AllOf(HasSubstr("rank 1 of 2"), HasSubstr("was ended by signal 9"),
                               HasSubstr("rank 1 is missing")));
  EXPECT_THAT(processes_of(run), IsEmpty());
  ASSERT_EQ(test::run(words(run, 2)).status, 0);
  EXPECT_EQ(test::stable_metrics(run), test::stable_metrics(other("whole2")));
  EXPECT_EQ(test::read_text(run / "checkpoints/3/model.safetensors"),
            test::read_text(other("whole2") / "checkpoints/3/model.safetensors"));
}

TEST_F(Workers, APausedWorkerIsNamedSoonAfterTheDeadline) {
  const fs::path run = other("paused");
  test::Process job(words(run, 2, {"--worker-timeout", "3"}));
  ASSERT_TRUE(test::wait_for_steps(run, 1)) << job.err();
  const core::Stopwatch watch;
  ::kill(process_with(run, "RANK=1"), SIGSTOP);
  EXPECT_EQ(job.wait(), 1);
  EXPECT_LT(watch.seconds(), 3 + 15);
  EXPECT_THAT(job.err(), HasSubstr("rank 1 is missing (dead, paused or cut off): last heard of "));
  EXPECT_THAT(processes_of(run), IsEmpty());
}

// Rank 0 can't say it: another one does, where the user looks.
TEST_F(Workers, APausedRankZeroIsNamedOnTheConsole) {
  const fs::path run = other("paused0");
  test::Process job(words(run, 2, {"--worker-timeout", "3"}));
  ASSERT_TRUE(test::wait_for_steps(run, 1)) << job.err();
  const core::Stopwatch watch;
  const int root = process_with(run, "RANK=0");
  ::kill(root, SIGSTOP);
  EXPECT_EQ(job.wait(), 1);
  EXPECT_LT(watch.seconds(), 3 + 11);  // without the grace of one that can save
  EXPECT_THAT(job.err(), AllOf(HasSubstr("rank 1 of 2: "), HasSubstr("rank 0 is missing"),
                               HasSubstr((run / "logs/rank-1.log").string()),
                               HasSubstr(fmt::format("(process {}) was paused", root))));
  EXPECT_THAT(processes_of(run), IsEmpty());
}

// Whatever the workers have got to, from before their first line of code on.
TEST_F(Workers, ASignalWhileLoadingEndsTheJobAsOneLaterDoes) {
  for (const int milliseconds : {150, 250, 600}) {
    const fs::path run = other(fmt::format("early{}", milliseconds));
    test::Process job(words(run, 2, {"grpo.max_steps=400"}));
    for (int i = 0; i < 6000 && processes_of(run).size() < 3; ++i) ::usleep(1000);
    ::usleep(static_cast<useconds_t>(milliseconds - 150) * 1000);
    job.send(SIGTERM);
    EXPECT_EQ(job.wait(), 128 + SIGTERM) << job.err();
    EXPECT_EQ(job.err(), "");
    EXPECT_THAT(processes_of(run), IsEmpty());
  }
}

// An evaluation is due after each step, a checkpoint after none.
TEST_F(Workers, AStopCutsOffSamplingAndEvaluationsAndTheRunGoesOnWithTheSameBits) {
  const std::vector<std::string> steps = {"grpo.max_steps=3", "grpo.prompts_per_step=16",
                                          "eval.num_prompts=64", "eval.eval_steps=1",
                                          "save.save_steps=100"};
  ASSERT_EQ(test::run(words(other("uncut"), 2, steps)).status, 0);
  const fs::path run = other("cut");
  // Stopped again and again: at the start, in steps, in evaluations.
  int status = 128 + SIGTERM, starts = 0;
  for (; status == 128 + SIGTERM && starts < 60; ++starts) {
    test::Process job(words(run, 2, steps));
    for (int i = 0; i < 6000 && processes_of(run).size() < 3; ++i) ::usleep(1000);
    ::usleep(static_cast<useconds_t>(600 + 150 * (starts % 7)) * 1000);
    job.send(SIGTERM);
    status = job.wait();
    EXPECT_EQ(job.err(), "");
  }
  EXPECT_EQ(status, 0);
  EXPECT_GT(starts, 1);
  EXPECT_EQ(test::stable_metrics(run), test::stable_metrics(other("uncut")));
  EXPECT_EQ(test::read_text(run / "checkpoints/3/model.safetensors"),
            test::read_text(other("uncut") / "checkpoints/3/model.safetensors"));
}

TEST_F(Workers, ATerminatedJobSavesFirstAndGoesOn) {
  const fs::path run = other("terminated");
  test::Process job(words(run, 2));
  ASSERT_TRUE(test::wait_for_steps(run, 1)) << job.err();
  job.send(SIGTERM);
  EXPECT_EQ(job.wait(), 128 + SIGTERM) << job.err();
  EXPECT_EQ(job.err(), "");
  const int64_t step = metrics_of(run).back().step;
  EXPECT_TRUE(fs::exists(run / "checkpoints" / std::to_string(step) / "trainer.json"));
  EXPECT_THAT(processes_of(run), IsEmpty());
  ASSERT_EQ(test::run(words(run, 2)).status, 0);
  expect_same_curve(run, of(1));
}

TEST_F(Workers, ASignalToOneWorkerStopsAllOfThem) {
  const fs::path run = other("one_signal");
  test::Process job(words(run, 2));
  ASSERT_TRUE(test::wait_for_steps(run, 1)) << job.err();
  ::kill(process_with(run, "RANK=1"), SIGTERM);
  EXPECT_EQ(job.wait(), 128 + SIGTERM) << job.err();
  EXPECT_THAT(job.out(), HasSubstr("the same command goes on from there"));
}

TEST_F(Workers, OneStepOffSamplesBesideTheTraining) {
  const std::vector<std::string> more = {"grpo.one_step_off=true"};
  expect_same_on(2, "off", more);
}

TEST_F(Workers, PartialRolloutsFiltersAndMiniBatchesAreShared) {
  const std::vector<std::string> more = {
      "grpo.partial_rollout_tokens=20",           "grpo.filter_groups.enable=true",
      "grpo.filter_groups.max_num_gen_batches=3", "grpo.steps_per_generation=2",
      "grpo.loss.top_entropy_quantile=0.5",       "grpo.train_tokens_max=200"};
  expect_same_on(3, "all", more);
}

TEST_F(Workers, Bfloat16WithMastersAgreesAsFarAsItsSumsDo) {
  const std::vector<std::string> more = {
      "training.bf16=true", "training.gradient_checkpointing=true", "grpo.max_steps=1"};
  const fs::path one = other("bf1"), two = other("bf2");
  ASSERT_EQ(test::run(words(one, 1, more)).status, 0);
  ASSERT_EQ(test::run(words(two, 2, more)).status, 0);
  EXPECT_EQ(test::read_text(two / "completions/000001.jsonl"),
            test::read_text(one / "completions/000001.jsonl"));
  EXPECT_NEAR(metrics_of(two)[1].metrics.at("grad_norm"),
              metrics_of(one)[1].metrics.at("grad_norm"), 0.02);
}

TEST_F(Workers, MasksAndRoutingThatSamplingKeptTravelToo) {
  const std::vector<std::string> more = {"grpo.keep_sampling_mask=true", "grpo.keep_routing=true",
                                         "grpo.top_p=0.9", "grpo.max_steps=2"};
  expect_same_on(2, "kept", more);
}

TEST_F(Workers, AdaptersAloneAreSummed) {
  const std::vector<std::string> more = {"training.use_peft=true", "grpo.max_steps=2"};
  expect_same_on(2, "lora", more);
  EXPECT_TRUE(fs::exists(other("lora2") / "checkpoints/2/adapter/adapter_model.safetensors"));
}

// Documents are dealt, experts' loads and losses summed.
TEST_F(Workers, PretrainingGivesTheSameRunToo) {
  const auto pretrain = [](const fs::path& run, const char* workers) {
    return test::run({test::kPonder, "train", "recipes/tiny_base.toml", "--run", run.string(),
                      "pretrain.max_steps=3", "pretrain.tokens_per_step=512", "eval.num_prompts=8",
                      "--workers", workers});
  };
  const test::Outcome one = pretrain(other("base1"), "1"), three = pretrain(other("base3"), "3");
  ASSERT_EQ(one.status, 0) << one.err;
  ASSERT_EQ(three.status, 0) << three.err;
  expect_same_curve(other("base3"), other("base1"));
}

TEST_F(Workers, BenchStepTellsCommunicationApart) {
  const test::Outcome outcome = test::run(
      {test::kPonder, "bench", "step", "--model", "examples/tiny-v3-base", "--bf16", "false",
       "--sequences", "8", "--mean-length", "32", "--repetitions", "1", "--workers", "1,2"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const auto all = nlohmann::json::parse(outcome.out);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].at("tokens"), all[1].at("tokens"));
  EXPECT_EQ(all[1].at("workers"), 2);
  EXPECT_FALSE(all[0].contains("communication"));
  const auto& communication = all[1].at("communication");
  EXPECT_GE(communication.at("share_hidden"), 0);
  EXPECT_LE(communication.at("share_hidden"), 1);
  EXPECT_GT(communication.at("bytes"), 1e5);
}

TEST_F(Workers, CheckAndStartSayWhatEachGets) {
  const test::Outcome even = test::run(words(other("checked"), 4, {"--check"}));
  EXPECT_EQ(even.status, 0) << even.err;
  EXPECT_THAT(even.out, AllOf(HasSubstr("4 workers: 1 prompt x 4 completions = 4 sequences each"),
                              HasSubstr("memory of each of 4 workers: about ")));
  const test::Outcome uneven = test::run(words(other("checked"), 3, {"--check"}));
  EXPECT_THAT(uneven.out, HasSubstr("3 workers: 1 or 2 prompts x 4 completions each"));
  EXPECT_THAT(uneven.out, HasSubstr("even with 2 or 4 workers, or grpo.prompts_per_step = 3 or 6"));
  EXPECT_THAT(outcome_->out, Not(HasSubstr(" workers")));
  const test::Outcome started = test::run(words(other("shares"), 2, {"--max-steps", "1"}));
  EXPECT_THAT(started.out, HasSubstr("2 workers: 2 prompts x 4 completions = 8 sequences each"));
}

TEST_F(Workers, MoreWorkersThanGroupsIsFine) {
  const fs::path run = other("many");
  const test::Outcome outcome =
      test::run(words(run, 4,
                      {"grpo.prompts_per_step=2", "grpo.num_generations=2", "grpo.max_steps=1",
                       "eval.num_prompts=3"}));
  EXPECT_EQ(outcome.status, 0) << outcome.err;
}

TEST_F(Workers, WhatIsWrongIsSaidOnceAndBeforeAnythingStarts) {
  const test::Outcome key = test::run(words(other("wrong"), 2, {"grpo.max_step=1"}));
  EXPECT_EQ(key.status, 2);
  EXPECT_THAT(key.err, HasSubstr("max_step"));
  EXPECT_EQ(key.err.find("ponder:"), key.err.rfind("ponder:"));

  const test::Outcome model =
      test::run(words(other("wrong"), 2, {"model_name_or_path=no/such/folder"}));
  EXPECT_EQ(model.status, 2) << model.err;
  EXPECT_EQ(model.err.find("no/such/folder"), model.err.rfind("no/such/folder")) << model.err;
  EXPECT_FALSE(fs::exists(other("wrong")));

  for (const char* timeout : {"nan", "inf", "0", "-1"}) {
    const test::Outcome wrong = test::run(words(other("wrong"), 2, {"--worker-timeout", timeout}));
    EXPECT_EQ(wrong.status, 2);
    EXPECT_THAT(wrong.err, HasSubstr("--worker-timeout"));
  }

  std::vector<std::string> launched = {"env", "RANK=0", "WORLD_SIZE=2", "MASTER_ADDR=127.0.0.1",
                                       "MASTER_PORT=23999"};
  for (const std::string& word : words(other("wrong"), 2)) launched.push_back(word);
  const test::Outcome twice = test::run(launched);
  EXPECT_EQ(twice.status, 2);
  EXPECT_THAT(twice.err, HasSubstr("leave --workers out"));
}

}  // namespace
}  // namespace ponder
