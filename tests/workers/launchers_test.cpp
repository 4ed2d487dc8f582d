// Workers that torchrun and Slurm start, kill and start again.
#include <cstdlib>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

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

// Each worker runs a program in the sandbox: `words` is the launcher for two.
void expect_sandbox_works(std::vector<std::string> words, const fs::path& folder) {
  std::ofstream(folder / "program.py") << "print(6 * 7)\n";
  append(words, {test::kPonder, "sandbox", "run", (folder / "program.py").string(), "--json"});
  const test::Outcome outcome = test::run(words);
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  const size_t first = outcome.out.find("\"42\\n\""), second = outcome.out.rfind("\"42\\n\"");
  EXPECT_NE(first, std::string::npos) << outcome.out;
  EXPECT_NE(first, second) << outcome.out;
}

TEST(Torchrun, TheSandboxWorksInItsWorkers) {
  if (test::oracle_python().empty()) GTEST_SKIP() << "PONDER_ORACLE_PYTHON names no Python";
  const test::TempDir folder;
  expect_sandbox_works({test::oracle_python(), "-m", "torch.distributed.run", "--no-python",
                        "--standalone", "--nproc-per-node", "2"},
                       folder.path());
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

TEST_F(Slurm, TheSandboxWorksInItsTasks) {
  expect_sandbox_works({"srun", "-n2"}, folder_->path());
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
      << "#!/bin/bash\nsrun -n2" << words
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
