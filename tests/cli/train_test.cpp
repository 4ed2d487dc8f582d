#include <chrono>
#include <fstream>
#include <random>
#include <sstream>
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

// The same with adapters beside every linear, the experts' too; what is frozen stays as it was.
TEST_F(Train, AdaptersGoOnToo) {
  const std::vector<std::string> lora = {"training.use_peft=true", "training.bf16=true",
                                         "training.gradient_checkpointing=true",
                                         "training.lora_r=4", "grpo.max_steps=4"};
  std::vector<std::string> two = lora;
  two.insert(two.end(), {"--max-steps", "2"});
  const fs::path one = other("lora"), run = other("lora_stopped");
  ASSERT_EQ(test::run(test::small_run(one, lora)).status, 0);
  ASSERT_EQ(test::run(test::small_run(run, two)).status, 0);
  ASSERT_EQ(test::run(test::small_run(run, lora)).status, 0);
  EXPECT_EQ(test::stable_metrics(run), test::stable_metrics(one));
  for (const char* file : {"model.safetensors", "adapter/adapter_model.safetensors"}) {
    EXPECT_EQ(test::read_text(run / "checkpoints/4" / file),
              test::read_text(one / "checkpoints/4" / file));
  }
  EXPECT_THAT(test::read_text(one / "checkpoints/4/adapter/adapter_config.json"),
              HasSubstr(".mlp.experts.gate_up_proj"));
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

// Kills within the write of a checkpoint: while its folder still has its name of work.
TEST_F(Train, GoesOnAfterKillNineDuringTheSave) {
  const fs::path run = other("killed_saving");
  const auto saving = [&] {
    if (!fs::exists(run / "checkpoints")) return false;
    std::error_code ignored;  // entries come and go
    for (fs::directory_iterator it(run / "checkpoints", ignored), end; it != end;
         it.increment(ignored)) {
      if (it->path().extension() == ".part") return true;
    }
    return false;
  };
  int killed_saving = 0;
  for (int attempt = 0; attempt < 4; ++attempt) {
    test::Process process(test::small_run(run));
    for (int i = 0; i < 20000 && !saving(); ++i)
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    std::this_thread::sleep_for(std::chrono::milliseconds(attempt));
    process.send(SIGKILL);
    process.wait();
    killed_saving += saving() ? 1 : 0;
  }
  EXPECT_GT(killed_saving, 0);  // else this shows nothing
  ASSERT_EQ(test::run(test::small_run(run)).status, 0);
  EXPECT_EQ(test::stable_metrics(run), test::stable_metrics(whole()));
  EXPECT_EQ(test::read_text(run / "checkpoints/6/model.safetensors"),
            test::read_text(whole() / "checkpoints/6/model.safetensors"));
}

TEST_F(Train, GoesOnAfterKillNineAtRandomPoints) {
  const fs::path run = other("killed_at_random");
  std::minstd_rand random(std::random_device{}());
  std::string delays;
  for (int attempt = 0; attempt < 6; ++attempt) {
    const auto delay = std::chrono::milliseconds(random() % 1200);
    delays += std::to_string(delay.count()) + " ms, ";
    test::Process process(test::small_run(run));
    std::this_thread::sleep_for(delay);
    process.send(SIGKILL);
    process.wait();
  }
  SCOPED_TRACE("killed after " + delays);
  ASSERT_EQ(test::run(test::small_run(run)).status, 0);
  EXPECT_EQ(test::stable_metrics(run), test::stable_metrics(whole()));
}

TEST_F(Train, KeepsTheBestCheckpoint) {
  const fs::path run = other("best");
  const auto words = test::small_run(
      run, {"save.metric_for_best_model=eval/mean_length", "save.greater_is_better=false",
            "save.save_total_limit=1", "eval.eval_steps=1"});
  ASSERT_EQ(test::run(words).status, 0);
  int64_t best = 0;
  double least = 1e9;
  for (const core::StepRecord& record : core::read_metrics(run / "metrics.jsonl")) {
    const double length = record.metrics.at("eval/mean_length");
    if (record.step > 0 && length < least) least = length, best = record.step;
  }
  EXPECT_EQ(fs::read_symlink(run / "checkpoints/best"), std::to_string(best));
  EXPECT_TRUE(fs::exists(run / "checkpoints/best/model.safetensors"));
  EXPECT_EQ(fs::read_symlink(run / "checkpoints/latest"), "6");
}

TEST_F(Train, AMetricThatIsNotThereIsFoundAtTheFirstStep) {
  const test::Outcome outcome =
      test::run(test::small_run(other("mistyped"), {"save.metric_for_best_model=eval/acuracy"}));
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.err, HasSubstr("did you mean 'eval/accuracy'?"));
}

TEST_F(Train, ADamagedCheckpointIsFoundByItsChecksum) {
  const fs::path run = other("damaged");
  ASSERT_EQ(test::run(test::small_run(run, {"--max-steps", "2"})).status, 0);
  const fs::path file = run / "checkpoints/2/trainer.safetensors";
  {
    std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekg(-5, std::ios::end);
    const char flipped = static_cast<char>(bytes.peek() ^ 1);
    bytes.seekp(-5, std::ios::end);
    bytes.put(flipped);
  }
  const test::Outcome outcome = test::run(test::small_run(run));
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.err, HasSubstr("trainer.safetensors: damaged"));
  EXPECT_THAT(outcome.err, HasSubstr("go on from the one before"));
  fs::remove_all(run / "checkpoints/2");
  fs::remove(run / "checkpoints/latest");
  ASSERT_EQ(test::run(test::small_run(run)).status, 0);
  EXPECT_EQ(test::stable_metrics(run), test::stable_metrics(whole()));
}

TEST_F(Train, CheckShowsOneGroupAndTrainsNothing) {
  const fs::path run = other("checked");
  const test::Outcome outcome = test::run(test::small_run(run, {"--check"}));
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_FALSE(fs::exists(run));
  for (const char* part : {"a step: 4 prompts x 4 completions = 16 sequences; 2 passes x 1 "
                           "mini-batch of 16 = 2 updates",
                           "6 steps: 12 updates", "a completion stops at", "memory: about",
                           "as rendered", "\"User: ", "completion 3:", "advantage", "in order"})
    EXPECT_THAT(outcome.out, HasSubstr(part));
}

// "335MB" after `before` in the text, in bytes.
double bytes_after(const std::string& text, const std::string& before) {
  std::istringstream words(text.substr(text.find(before) + before.size()));
  double number = 0;
  std::string unit;
  words >> number >> unit;
  return number * (unit.starts_with("GB") ? 1e9 : unit.starts_with("MB") ? 1e6 : 1e3);
}

TEST_F(Train, CheckForecastsThePeakOfMemory) {
  const std::vector<std::string> words = {"grpo.prompts_per_step=16", "grpo.num_generations=16",
                                          "grpo.max_steps=2", "eval.num_prompts=0"};
  std::vector<std::string> check_words = words;
  check_words.emplace_back("--check");
  const test::Outcome check = test::run(test::small_run(other("memory"), check_words));
  ASSERT_EQ(check.status, 0) << check.err;
  const test::Outcome outcome = test::run(test::small_run(other("memory"), words));
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const auto records = core::read_metrics(other("memory") / "metrics.jsonl");
  const double peak = records.back().metrics.at("perf/memory_peak_bytes"),
               forecast = bytes_after(check.out, "memory: about ");
  EXPECT_NEAR(forecast / peak, 1, 0.2) << forecast << " of " << peak;
}

TEST_F(Train, WrongBatchArithmeticNamesTheNearestRightValues) {
  const auto error_of = [&](const char* word) {
    const test::Outcome outcome = test::run(test::small_run(other("never"), {word, "--check"}));
    EXPECT_EQ(outcome.status, 2) << word;
    return outcome.err;
  };
  EXPECT_THAT(error_of("grpo.steps_per_generation=3"), HasSubstr("set it to 2 or 4"));
  EXPECT_THAT(error_of("grpo.steps_per_generation=20"), HasSubstr("set it to 16"));
  EXPECT_THAT(error_of("grpo.num_generations=1"), HasSubstr("2 or more"));
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
