// A training that diverges, end to end with sampling in the loop: updates that are left out and
// dumped, the run's end, what a replay shows, and checkpoints that are damaged.
#include <fstream>
#include <nlohmann/json.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/small_run.h"

namespace ponder {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

// One update of this size leaves finite weights whose logits are not.
const std::vector<std::string> kDiverging = {"optimizer.learning_rate=1e30", "eval.num_prompts=0",
                                             "save.save_steps=1"};

test::Outcome diverge(const fs::path& run, std::vector<std::string> words) {
  words.insert(words.end(), kDiverging.begin(), kDiverging.end());
  return test::run(test::small_run(run, words));
}

TEST(Diverged, ThreeUpdatesLeftOutStopTheRunAndTheDumpIsReplayed) {
  const test::TempDir folder;
  const fs::path run = folder.path() / "run";
  const test::Outcome outcome = diverge(run, {"grpo.num_iterations=5"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("step 1: update 1 had a loss or gradient that is not finite"));
  EXPECT_THAT(outcome.err, HasSubstr("3 updates in a row"));
  const std::string dump = run / "dumps/000001-3";
  EXPECT_THAT(outcome.err, HasSubstr(dump));
  const test::Outcome replay = test::run({test::kPonder, "train", "--replay", dump});
  EXPECT_EQ(replay.status, 1) << replay.err;
  EXPECT_THAT(replay.out, HasSubstr("log-probs are not finite"));
  EXPECT_THAT(replay.out, HasSubstr("not finite here either"));
}

TEST(Diverged, SamplingSaysThatTrainingHasAndWhatToDo) {
  const test::TempDir folder;
  const fs::path run = folder.path() / "run";
  for (int attempt = 0; attempt < 2; ++attempt) {  // the second goes on from the checkpoint
    const test::Outcome outcome = diverge(run, {"grpo.num_iterations=1"});
    EXPECT_EQ(outcome.status, 1);
    EXPECT_THAT(outcome.err, HasSubstr("training has diverged: with the weights after step 1"));
    EXPECT_THAT(outcome.err, HasSubstr("lower optimizer.learning_rate"));
  }
}

TEST(Diverged, WorkersSaySoToo) {
  const test::TempDir folder;
  const test::Outcome outcome =
      diverge(folder.path() / "run", {"grpo.num_iterations=1", "--workers", "2"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("training has diverged: with the weights after step 1"));
}

// A checkpoint with a rollout sampled ahead and paused completions.
class DamagedState : public ::testing::Test {
 protected:
  void SetUp() override {
    const test::Outcome outcome = test::run(words({"--max-steps", "2"}));
    ASSERT_EQ(outcome.status, 0) << outcome.err;
  }
  std::vector<std::string> words(std::vector<std::string> more = {}) const {
    more.insert(more.end(), {"grpo.max_steps=3", "eval.num_prompts=0", "grpo.one_step_off=true",
                             "grpo.partial_rollout_tokens=6"});
    return test::small_run(run_, more);
  }
  void expect_damaged(const std::string& name, const std::string& text) const {
    SCOPED_TRACE(name + ": " + text.substr(0, 60));
    const fs::path file = run_ / "checkpoints/2" / name;
    const std::string whole = test::read_text(file);
    std::ofstream(file) << text;
    const test::Outcome outcome = test::run(words());
    std::ofstream(file) << whole;
    EXPECT_EQ(outcome.status, 2);
    EXPECT_THAT(outcome.err, HasSubstr((file.string() + ": damaged (")));
    EXPECT_THAT(outcome.err, Not(HasSubstr("json.exception")));
  }
  test::TempDir folder_;
  fs::path run_ = folder_.path() / "run";
};

TEST_F(DamagedState, IsNamed) {
  for (const char* name : {"trainer.json", "pending.json", "paused.json"}) {
    const std::string whole = test::read_text(run_ / "checkpoints/2" / name);
    expect_damaged(name, whole.substr(0, whole.size() / 2));
    std::string other = whole;  // one digit of a value: only the checksum tells
    const size_t digit = other.find_last_of("0123456789", other.find("\"safetensors_crc32c\"") - 2);
    other[digit] = other[digit] == '7' ? '8' : '7';
    expect_damaged(name, other);
    nlohmann::json bare = nlohmann::json::parse(whole);  // as an earlier version wrote it
    bare.erase("crc32c");
    if (bare.contains("counts")) {
      bare["counts"]["token_ids"][0] = 1000000000;
      const fs::path file = run_ / "checkpoints/2" / name;
      std::ofstream(file) << bare.dump();
      const test::Outcome outcome = test::run(words());
      std::ofstream(file) << whole;
      EXPECT_EQ(outcome.status, 2);
      EXPECT_THAT(outcome.err, HasSubstr("has too few values"));
    }
  }
  expect_damaged("trainer.json", "");
  expect_damaged("paused.json", std::string(100000, '['));
  expect_damaged("pending.json", "{}");
  EXPECT_EQ(test::run(words()).status, 0);  // as it was
}

}  // namespace
}  // namespace ponder
