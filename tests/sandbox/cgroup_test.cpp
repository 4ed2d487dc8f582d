#include "sandbox/cgroup.h"

#include <csignal>
#include <ctime>
#include <fstream>

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
