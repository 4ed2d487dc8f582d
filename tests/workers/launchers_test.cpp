// Workers that torchrun, mpirun and Slurm start, kill and start again.
#include <cstdlib>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "core/timer.h"
#include "tests/support/worker_run.h"

namespace ponder {
namespace {

namespace fs = std::filesystem;
using test::process_with;
using test::worker_run;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// The run that nobody disturbs, by `ponder train --workers 2`.
fs::path undisturbed(const test::TempDir& folder, const std::vector<std::string>& more) {
  const auto* test = testing::UnitTest::GetInstance()->current_test_info();
  const fs::path run = folder.path() / ("undisturbed-" + std::string(test->name()));
  std::vector<std::string> words = {"--workers", "2"};
  words.insert(words.end(), more.begin(), more.end());
  const test::Outcome outcome = test::run(worker_run(run, words));
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  return run;
}

void append(std::vector<std::string>& words, const std::vector<std::string>& more) {
  words.insert(words.end(), more.begin(), more.end());
}

TEST(Torchrun, RestartsTheJobAfterAKillAndItGoesOnWithTheSameBits) {
  if (test::oracle_python().empty()) GTEST_SKIP() << "PONDER_ORACLE_PYTHON names no Python";
  const test::TempDir folder;
  const fs::path run = folder.path() / "run";
  std::vector<std::string> words = {test::oracle_python(),
                                    "-m",
                                    "torch.distributed.run",
                                    "--no-python",
                                    "--standalone",
                                    "--nproc-per-node",
                                    "2",
                                    "--max-restarts",
                                    "1"};
  words.push_back("--");  // else torchrun takes --run for its own --run-path
  append(words, worker_run(run));
  test::Process job(words);
  ASSERT_TRUE(test::wait_for_steps(run, 1)) << job.err();
  ::kill(process_with(run, "RANK=1"), SIGKILL);
  EXPECT_EQ(job.wait(), 0) << job.err();
  EXPECT_THAT(job.out(), HasSubstr("going on after step"));
  EXPECT_THAT(job.err(), HasSubstr("rank 1 is missing"));
  EXPECT_EQ(test::stable_metrics(run), test::stable_metrics(undisturbed(folder, {})));
  EXPECT_THAT(test::processes_of(run), IsEmpty());
}

// A run whose completions are programs that the sandbox runs, by the launcher's `words` and by
// `ponder train --workers 2`: every program was run, and the metrics are the same.
void expect_sandboxed_rewards(std::vector<std::string> words, const test::TempDir& folder) {
  const fs::path data = folder.path() / "programs.jsonl", run = folder.path() / "rewarded";
  std::ofstream lines(data);
  for (int i = 0; i < 20; ++i) {
    lines << fmt::format(
        R"({{"prompt": "{}+5=?", "answer": {{"language": "python", "test_cases": [{{"input": "", "output": "7"}}]}}}})"
        "\n",
        i);
  }
  lines.close();
  const std::vector<std::string> reward = {
      "dataset.name=" + data.string(),  "dataset.test_share=0",        "eval.num_prompts=0",
      "reward.reward_funcs=[\"code\"]", "reward.reward_weights=[1.0]", "grpo.max_steps=2"};
  append(words, worker_run(run, reward));
  const test::Outcome outcome = test::run(words);
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  for (const core::StepRecord& record : test::metrics_of(run)) {
    EXPECT_TRUE(record.metrics.contains("rewards/code/mean"));
    EXPECT_FALSE(record.metrics.contains("rewards/status/crashed"));
  }
  EXPECT_EQ(test::stable_metrics(run), test::stable_metrics(undisturbed(folder, reward)));
}

TEST(Torchrun, RewardsInTheSandboxWorkInItsWorkers) {
  if (test::oracle_python().empty()) GTEST_SKIP() << "PONDER_ORACLE_PYTHON names no Python";
  const test::TempDir folder;
  expect_sandboxed_rewards({test::oracle_python(), "-m", "torch.distributed.run", "--no-python",
                            "--standalone", "--nproc-per-node", "2", "--"},
                           folder);
}

std::vector<std::string> mpirun_of_two() {
  return {"mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2"};
}

TEST(Mpirun, StartsTheWorkers) {
  if (test::run({"sh", "-c", "command -v mpirun"}).status != 0)
    GTEST_SKIP() << "needs the package openmpi-bin";
  const test::TempDir folder;
  const fs::path run = folder.path() / "run";
  std::vector<std::string> words = mpirun_of_two();
  append(words, worker_run(run));
  const test::Outcome outcome = test::run(words);
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("2 workers"));
  EXPECT_EQ(test::stable_metrics(run), test::stable_metrics(undisturbed(folder, {})));
}

// Rank 1 is paused; the other names it soon after the deadline, and the launcher ends what is left
// within `grace_s` more.
void expect_paused_job_ends(std::vector<std::string> words, const fs::path& run,
                            const std::string& rank_one, double grace_s) {
  append(words, worker_run(run, {"--worker-timeout", "3", "grpo.max_steps=400"}));
  test::Process job(words);
  ASSERT_TRUE(test::wait_for_steps(run, 1)) << job.err();
  const core::Stopwatch watch;
  const int paused = process_with(run, rank_one);
  ASSERT_NE(paused, 0);
  ::kill(paused, SIGSTOP);
  EXPECT_NE(job.wait(), 0);
  EXPECT_LT(watch.seconds(), 3 + 10 + grace_s);
  EXPECT_THAT(job.err(), HasSubstr("rank 1 is missing (dead, paused or cut off)"));
  for (int i = 0; i < 100 && !test::processes_of(run).empty(); ++i) ::usleep(50'000);
  EXPECT_THAT(test::processes_of(run), IsEmpty());
}

TEST(Mpirun, APausedWorkerEndsTheJobSoonAfterTheDeadline) {
  if (test::run({"sh", "-c", "command -v mpirun"}).status != 0)
    GTEST_SKIP() << "needs the package openmpi-bin";
  const test::TempDir folder;
  expect_paused_job_ends(mpirun_of_two(), folder.path() / "paused", "OMPI_COMM_WORLD_RANK=1", 10);
}

TEST(Mpirun, RewardsInTheSandboxWorkInItsWorkers) {
  if (test::run({"sh", "-c", "command -v mpirun"}).status != 0)
    GTEST_SKIP() << "needs the package openmpi-bin";
  const test::TempDir folder;
  expect_sandboxed_rewards(mpirun_of_two(), folder);
}

class Slurm : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (::geteuid() != 0 ||
        test::run({"sh", "-c", "command -v slurmctld && command -v munged"}).status != 0)
      return;
    folder_ = new test::TempDir;
    const std::string port = std::to_string(24000 + ::getpid() % 4000 * 2);
    const test::Outcome up = test::run(
        {"bash", "tests/workers/slurm_up.sh", (folder_->path() / "slurm").string(), port});
    ASSERT_EQ(up.status, 0) << up.err;
    ::setenv("SLURM_CONF", (folder_->path() / "slurm/slurm.conf").c_str(), 1);
  }
  static void TearDownTestSuite() {
    if (folder_ == nullptr) return;
    test::run({"bash", "tests/workers/slurm_down.sh", (folder_->path() / "slurm").string()});
    delete folder_;
  }
  void SetUp() override {
    if (folder_ == nullptr) GTEST_SKIP() << "needs root and the packages slurm-wlm and munge";
  }

  static test::TempDir* folder_;
};
test::TempDir* Slurm::folder_ = nullptr;

TEST_F(Slurm, SrunStartsTheWorkers) {
  const fs::path run = folder_->path() / "srun";
  std::vector<std::string> words = {"srun", "-n2"};
  append(words, worker_run(run));
  const test::Outcome outcome = test::run(words);
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("2 workers"));
  EXPECT_EQ(test::stable_metrics(run), test::stable_metrics(undisturbed(*folder_, {})));
}

TEST_F(Slurm, RewardsInTheSandboxWorkInItsTasks) {
  expect_sandboxed_rewards({"srun", "-n2"}, *folder_);
}

// slurm_up.sh's KillWait is 20 s.
TEST_F(Slurm, APausedTaskEndsTheStepWithinKillWait) {
  expect_paused_job_ends({"srun", "-n2", "--kill-on-bad-exit=1"}, folder_->path() / "paused",
                         "SLURM_PROCID=1", 25);
}

// A job of low priority gives way to another, and comes back. The script is that of
// docs/WORKERS.md.
TEST_F(Slurm, APreemptedJobSavesIsRequeuedAndGoesOnWithTheSameBits) {
  const std::vector<std::string> steps = {"grpo.max_steps=25"};
  const fs::path run = folder_->path() / "preempted", script = folder_->path() / "job.sh",
                 out = folder_->path() / "job.out";
  std::string words;
  for (const std::string& word : worker_run(run, steps)) words += " '" + word + "'";
  std::ofstream(script)
      << "#!/bin/bash\nsrun -n2 --kill-on-bad-exit=1" << words
      << "\nstatus=$?\n[ $status = 143 ] && exec scontrol requeue $SLURM_JOB_ID\nexit $status\n";
  const test::Outcome job = test::run({"sbatch", "--parsable", "--requeue", "--open-mode=append",
                                       "-plow", "-n2", "-o" + out.string(), script.string()});
  ASSERT_EQ(job.status, 0) << job.err;
  ASSERT_TRUE(test::wait_for_steps(run, 2)) << test::read_text(out);
  const test::Outcome urgent = test::run({"srun", "-phigh", "-n2", "true"});
  EXPECT_EQ(urgent.status, 0) << urgent.err;
  ASSERT_TRUE(test::wait_for_steps(run, 25)) << test::read_text(out);
  for (int i = 0; i < 600 && !test::processes_of(run).empty(); ++i) ::usleep(50'000);
  EXPECT_THAT(test::read_text(out), HasSubstr("the same command goes on from there"));
  EXPECT_THAT(test::read_text(out), HasSubstr("going on after step"));
  EXPECT_EQ(test::stable_metrics(run), test::stable_metrics(undisturbed(*folder_, steps)));
}

}  // namespace
}  // namespace ponder
