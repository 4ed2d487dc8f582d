#include "sandbox/cgroup.h"

#include <csignal>
#include <ctime>
#include <fstream>
#include <iterator>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace ponder::sandbox {
namespace {

namespace fs = std::filesystem;

TEST(CgroupLayout, NoTreeSaysWhy) {
  const CgroupLayout layout = CgroupLayout::detect("proc /proc proc rw 0 0\n", "0::/\n");
  EXPECT_EQ(layout.version, CgroupLayout::Version::kNone);
  EXPECT_NE(layout.why_none.find("memory"), std::string::npos);
  EXPECT_TRUE(layout.parents.empty());
}

TEST(CgroupLayout, UnwritableTreeSaysWhere) {
  const CgroupLayout layout = CgroupLayout::detect(
      "cgroup /nonexistent/memory cgroup rw,memory 0 0\ncgroup /nonexistent/pids cgroup rw,pids 0 "
      "0\n"
      "cgroup /nonexistent/cpu cgroup rw,cpu,cpuacct 0 0\n",
      "3:memory:/a\n2:pids:/\n1:cpu,cpuacct:/\n");
  EXPECT_EQ(layout.version, CgroupLayout::Version::kNone);
  EXPECT_NE(layout.why_none.find("/nonexistent/memory"), std::string::npos);
}

// A directory is no cgroup tree (the kernel fills new groups with files), so detection must not
// take it for one.
TEST(CgroupLayout, PlainDirectoryIsNoTree) {
  const fs::path root =
      fs::temp_directory_path() / ("ponder_cgroup_test_" + std::to_string(getpid()));
  fs::create_directories(root / "own");
  std::ofstream(root / "cgroup.subtree_control") << "memory pids\n";
  const CgroupLayout layout =
      CgroupLayout::detect("cgroup2 " + root.string() + " cgroup2 rw 0 0\n", "0::/own\n");
  fs::remove_all(root);
  EXPECT_EQ(layout.version, CgroupLayout::Version::kNone);
}

TEST(Cgroup, CountsAProcessThatJoined) {
  const CgroupLayout layout = CgroupLayout::detect();
  if (layout.version == CgroupLayout::Version::kNone) GTEST_SKIP() << layout.why_none;
  Cgroup group(layout, "unit-test");
  ASSERT_TRUE(group.prepare(64 << 20, 8));
  const std::vector<int> entrances = group.entrances();
  const pid_t pid = fork();
  if (pid == 0) {
    for (const auto& entrance : entrances)
      if (write(entrance, "0", 1) != 1) _exit(1);
    for (const std::clock_t end = std::clock() + CLOCKS_PER_SEC / 50; std::clock() < end;) {
    }
    _exit(0);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_GT(group.cpu_ns(), 1'000'000U);
  EXPECT_GT(group.memory_peak_bytes(), 0U);
  EXPECT_EQ(group.oom_kills(), 0U);
  for (const auto& dir : group.dirs()) EXPECT_EQ(rmdir(dir.c_str()), 0) << dir;
}

// The files of a version 2 group as the kernel's documentation (admin-guide/cgroup-v2.rst, "Memory
// Interface Files", "PID Interface Files", "CPU Interface Files") describes them, in a plain
// folder: a machine with the controllers on version 1 has no other.
class FakeGroup2 : public testing::Test {
 protected:
  FakeGroup2() {
    fs::create_directories(dir_);
    for (const char* name : {"cgroup.procs", "memory.max", "memory.swap.max", "pids.max"})
      set(name, "");
    set("cpu.stat", "usage_usec 1000\nuser_usec 700\nsystem_usec 300\n");
    set("memory.events", "low 0\nhigh 0\nmax 9\noom 3\noom_kill 2\noom_group_kill 0\n");
    set("memory.current", "4096\n");
    layout_.version = CgroupLayout::Version::kV2;
    layout_.parents = {{"unified", root_}};
  }
  ~FakeGroup2() override { fs::remove_all(root_); }
  void set(const std::string& name, const std::string& text) {
    std::ofstream(dir_ / name, std::ios::trunc) << text;
  }
  std::string get(const std::string& name) {
    std::ifstream file(dir_ / name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  fs::path root_ = fs::temp_directory_path() / ("ponder_fake_v2_" + std::to_string(getpid()));
  fs::path dir_ = root_ / ("ponder-" + std::to_string(getpid()) + "-box");
  CgroupLayout layout_;
};

TEST_F(FakeGroup2, LimitsAreWrittenOnceAndSwapIsClosed) {
  Cgroup group(layout_, "box");
  ASSERT_TRUE(group.prepare(64 << 20, 8));
  EXPECT_EQ(get("memory.max"), "67108864");
  EXPECT_EQ(get("memory.swap.max"), "0");
  EXPECT_EQ(get("pids.max"), "8");
  ASSERT_TRUE(group.prepare(64 << 20, 8));  // the same limits: nothing more is written
  EXPECT_EQ(get("memory.max"), "67108864");
  EXPECT_EQ(group.entrances().size(), 1U);
  EXPECT_EQ(group.dirs(), std::vector<std::string>{dir_.string()});
}

TEST_F(FakeGroup2, CountersStartAtZeroWithEachRun) {
  Cgroup group(layout_, "box");
  ASSERT_TRUE(group.prepare(64 << 20, 8));
  EXPECT_EQ(group.cpu_ns(), 0U);
  EXPECT_EQ(group.oom_kills(), 0U);
  set("cpu.stat", "usage_usec 3500\nuser_usec 700\nsystem_usec 300\n");
  set("memory.events", "low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\noom_group_kill 0\n");
  EXPECT_EQ(group.cpu_ns(), 2'500'000U);
  EXPECT_EQ(group.oom_kills(), 1U);
  ASSERT_TRUE(group.prepare(64 << 20, 8));
  EXPECT_EQ(group.cpu_ns(), 0U);
  EXPECT_EQ(group.oom_kills(), 0U);
}

TEST_F(FakeGroup2, WithoutAResettablePeakTheUseNowIsGiven) {
  Cgroup group(layout_, "box");  // no memory.peak, as before Linux 5.19
  ASSERT_TRUE(group.prepare(64 << 20, 8));
  EXPECT_FALSE(group.counts_peak());
  EXPECT_EQ(group.memory_peak_bytes(), 4096U);
  set("memory.current", "8192\n");
  EXPECT_EQ(group.memory_peak_bytes(), 8192U);
}

TEST_F(FakeGroup2, AKernelThatTakesNoLimitIsNoticed) {
  fs::remove(dir_ / "pids.max");  // the controller is not enabled
  Cgroup group(layout_, "box");
  EXPECT_FALSE(group.prepare(64 << 20, 8));
}

TEST_F(FakeGroup2, SwapControlMayBeAbsent) {
  fs::remove(dir_ / "memory.swap.max");  // a kernel without swap
  Cgroup group(layout_, "box");
  EXPECT_TRUE(group.prepare(64 << 20, 8));
  EXPECT_EQ(get("memory.max"), "67108864");
}

TEST(CgroupLayout, RemovesGroupsOfDeadProcesses) {
  const CgroupLayout layout = CgroupLayout::detect();
  if (layout.version == CgroupLayout::Version::kNone) GTEST_SKIP() << layout.why_none;
  const pid_t pid = fork();
  if (pid == 0) _exit(0);
  waitpid(pid, nullptr, 0);
  std::vector<fs::path> dirs;
  for (const auto& [name, parent] : layout.parents)
    dirs.push_back(parent / ("ponder-" + std::to_string(pid) + "-0-box"));
  for (const auto& dir : dirs) fs::create_directory(dir);
  layout.remove_stale();
  for (const auto& dir : dirs) EXPECT_FALSE(fs::exists(dir)) << dir;
}

}  // namespace
}  // namespace ponder::sandbox
