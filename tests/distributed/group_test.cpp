// Groups of real processes: what they compute, and how they end when one of them fails.
#include "distributed/group.h"

#include <memory>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "core/timer.h"
#include "distributed/sharding.h"
#include "tests/support/process.h"

namespace ponder::distributed {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

class Workers {
 public:
  // Starts ranks 0..started-1 of a group of `size`.
  Workers(int size, const std::vector<std::string>& words, int started = -1) {
    static int port = 23000 + static_cast<int>(::getpid() % 4000);
    ++port;
    for (int rank = 0; rank < (started < 0 ? size : started); ++rank) {
      std::vector<std::string> all = {"env",
                                      "OMP_NUM_THREADS=1",
                                      "MASTER_ADDR=127.0.0.1",
                                      fmt::format("MASTER_PORT={}", port),
                                      fmt::format("RANK={}", rank),
                                      fmt::format("WORLD_SIZE={}", size),
                                      PONDER_BINARY_DIR "/tests/distributed/distributed_worker"};
      all.insert(all.end(), words.begin(), words.end());
      processes_.push_back(std::make_unique<test::Process>(all));
    }
  }
  ~Workers() {
    for (const auto& process : processes_) process->send(SIGKILL);
  }
  test::Process& operator[](size_t rank) { return *processes_[rank]; }
  size_t size() const { return processes_.size(); }

 private:
  std::vector<std::unique_ptr<test::Process>> processes_;
};

void expect_all_well(int size, const std::string& mode) {
  Workers workers(size, {mode});
  for (size_t r = 0; r < workers.size(); ++r) {
    EXPECT_EQ(workers[r].wait(), 0) << "rank " << r << ": " << workers[r].err();
  }
}

TEST(Group, CollectivesGiveTheSameOnOneToFourWorkers) {
  for (int size = 1; size <= 4; ++size) expect_all_well(size, "collectives");
}

TEST(Group, TensorsOnADeviceGoThroughItsOwnBackend) {
  for (int size = 1; size <= 3; ++size) expect_all_well(size, "device");
}

TEST(Group, ATensorOnADeviceWithoutABackendIsOurError) {
  Workers workers(2, {"no-backend"});
  for (size_t r = 0; r < workers.size(); ++r) {
    EXPECT_EQ(workers[r].wait(), 1);
    EXPECT_THAT(workers[r].err(), HasSubstr("without a backend for devices"));
  }
}

TEST(GradientReducer, SumsEqualTheWholeBatchOnOneProcess) {
  for (int size = 1; size <= 4; ++size) expect_all_well(size, "gradients");
}

TEST(Sharding, OwnersValuesReachAllWorkersOrTheRoot) {
  for (int size = 1; size <= 4; ++size) expect_all_well(size, "sharding");
}

TEST(Sharding, OwnersAreBalancedByBytes) {
  const std::vector<int64_t> sizes = {8, 1, 7, 2, 6, 3};
  const std::vector<int> owners = balanced_owners(sizes, 3);
  std::vector<int64_t> load(3);
  for (size_t i = 0; i < sizes.size(); ++i) load[owners[i]] += sizes[i];
  EXPECT_THAT(load, ::testing::Each(9));
  EXPECT_THAT(balanced_owners({5}, 4), ::testing::ElementsAre(0));
}

// Rank `failing` of 3 has failed; the others must end, and name it, and nobody else.
void expect_named(Workers& workers, size_t failing,
                  const ::testing::Matcher<std::string>& message) {
  for (size_t r = 0; r < 3; ++r) {
    if (r == failing) continue;
    EXPECT_EQ(workers[r].wait(), 1);
    EXPECT_THAT(workers[r].err(), message) << "rank " << r;
    for (size_t innocent = 0; innocent < 3; ++innocent) {
      if (innocent == failing) continue;
      for (const char* accusation : {" is missing", " has not come"})
        EXPECT_THAT(workers[r].err(),
                    Not(HasSubstr(fmt::format("rank {}{}", innocent, accusation))))
            << "rank " << r;
    }
  }
}

// Three groups at once, of each another rank fails in its fourth step, after sends and receives.
// `message`: what the others say of it, after "rank N".
void expect_ends(const std::string& mode, double timeout_s, const std::string& message) {
  const core::Stopwatch watch;
  std::vector<std::unique_ptr<Workers>> groups;
  for (size_t r = 0; r < 3; ++r) {
    groups.push_back(std::make_unique<Workers>(
        3, std::vector<std::string>{mode, fmt::format("{}", timeout_s), fmt::format("{}", r)}));
  }
  for (size_t r = 0; r < 3; ++r) {
    const auto named = HasSubstr(fmt::format("rank {} {}", r, message));
    expect_named(*groups[r], r, named);
  }
  EXPECT_LT(watch.seconds(), timeout_s + 20);
}

TEST(GroupFaults, AKilledWorkerIsNamedLongBeforeTheDeadline) {
  expect_ends("die", 60, "is missing");
}

TEST(GroupFaults, APausedWorkerIsNamedAtTheDeadline) {
  expect_ends("pause", 4, "is missing (dead, paused or cut off)");
}

TEST(GroupFaults, ALateWorkerIsNamedWithWhatItDoes) {
  expect_ends("late", 4, "has not come: it is sampling since");
}

TEST(GroupFaults, AWorkerThatIsLateToASendOrReceiveIsNamed) {
  expect_ends("late-exchange", 4, "has not come: it is sampling since");
}

// Two network namespaces joined by a cable that is pulled: no packet says that the other is gone.
TEST(GroupFaults, AWorkerThatIsCutOffEndsBothSidesSoonAfterTheDeadline) {
  if (test::run({"unshare", "-rn", "true"}).status != 0)
    GTEST_SKIP() << "no network namespaces for this user";
  const test::TempDir folder;
  const core::Stopwatch watch;
  const auto outcome = test::run({"unshare", "-rn", "bash", "tests/distributed/cut_off.sh",
                                  PONDER_BINARY_DIR "/tests/distributed/distributed_worker",
                                  folder.path().string(), "3"});
  ASSERT_EQ(outcome.status, 0) << outcome.out << outcome.err;
  EXPECT_LT(watch.seconds(), 3 + 15);
  EXPECT_EQ(test::read_text(folder.path() / "status"), "1 1\n");
  EXPECT_THAT(test::read_text(folder.path() / "0"), HasSubstr("rank 1 is missing (dead, paused"));
  EXPECT_THAT(test::read_text(folder.path() / "1"),
              HasSubstr("rank 0 is missing (dead, paused or cut off): the store"));
}

TEST(GroupFaults, TheLastWordOfAWorkerThatGaveUpIsRepeated) {
  expect_ends("give-up", 60, "gave up: the disk is full");
}

TEST(GroupFaults, AWorkerThatNeverCameIsNamed) {
  Workers workers(3, {"join", "2"}, 2);
  for (const size_t r : {0, 1}) {
    EXPECT_EQ(workers[r].wait(), 1);
    EXPECT_THAT(workers[r].err(), HasSubstr("rank 2 did not come within 2 s"));
  }
}

TEST(GroupFaults, WithoutRankZeroTheErrorNamesTheMeetingPlace) {
  const auto outcome =
      test::run({"env", "MASTER_ADDR=127.0.0.1", "MASTER_PORT=22999", "RANK=1", "WORLD_SIZE=2",
                 PONDER_BINARY_DIR "/tests/distributed/distributed_worker", "join", "2"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, HasSubstr("could not meet at 127.0.0.1:22999"));
  EXPECT_THAT(outcome.err, Not(HasSubstr("frame #")));  // c10d's stack
}

test::Outcome spawn(const std::string& mode, int workers) {
  return test::run({PONDER_BINARY_DIR "/tests/distributed/distributed_worker", "spawn", mode,
                    std::to_string(workers)});
}

TEST(Spawn, EndsWellWhenAllWorkersDo) {
  EXPECT_EQ(spawn("collectives", 3).status, 0);
}

TEST(Spawn, EndsTheOthersWhenOneFails) {
  const core::Stopwatch watch;
  EXPECT_EQ(spawn("fail-after", 3).status, 7);
  EXPECT_LT(watch.seconds(), 20);
}

TEST(Spawn, AKilledParentTakesItsWorkersWithIt) {
  test::Process parent({PONDER_BINARY_DIR "/tests/distributed/distributed_worker", "spawn",
                        "fail-after-never", "2"});
  const auto workers_left = [] {
    return test::run({"pgrep", "-f", "distributed_worker fail-after-never"}).status == 0;
  };
  for (int i = 0; i < 100 && !workers_left(); ++i) ::usleep(50'000);
  EXPECT_TRUE(workers_left());
  parent.send(SIGKILL);
  parent.wait();
  for (int i = 0; i < 100 && workers_left(); ++i) ::usleep(50'000);
  EXPECT_FALSE(workers_left());
}

}  // namespace
}  // namespace ponder::distributed
