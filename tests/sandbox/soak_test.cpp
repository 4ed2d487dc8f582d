// Thousands of runs in one pool leave no process, descriptor, mount, cgroup or memory behind.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/sandbox/support.h"

namespace ponder::sandbox {
namespace {

struct Footprint {
  size_t processes = 0, fds = 0, mounts = 0, groups = 0;
  uint64_t resident_kb = 0;
};

Footprint measure() {
  namespace fs = std::filesystem;
  Footprint footprint;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::ifstream name(entry.path() / "comm");
    std::string comm;
    name >> comm;
    std::ifstream command(entry.path() / "cmdline");
    std::string line;
    std::getline(command, line);
    if (line.rfind("ponder-box", 0) == 0 || line.find("/.box/driver.py") != std::string::npos)
      ++footprint.processes;
  }
  footprint.fds = static_cast<size_t>(std::distance(fs::directory_iterator("/proc/self/fd"), {}));
  std::ifstream mounts("/proc/self/mounts");
  for (std::string line; std::getline(mounts, line);) ++footprint.mounts;
  std::ifstream groups("/proc/cgroups");
  std::string line;
  std::getline(groups, line);
  for (std::string name; groups >> name;) {
    size_t hierarchy = 0, count = 0, enabled = 0;
    groups >> hierarchy >> count >> enabled;
    if (name == "memory" || name == "pids" || name == "cpuacct") footprint.groups += count;
  }
  std::ifstream status("/proc/self/statm");
  uint64_t size = 0, resident = 0;
  status >> size >> resident;
  footprint.resident_kb = resident * static_cast<uint64_t>(getpagesize()) / 1024;
  return footprint;
}

Request nth_request(int i) {
  Request request;
  switch (i % 8) {
    case 0:
      return script("import os\nif os.fork() == 0:\n    import time; time.sleep(100)");
    case 1:
      return script("import os; os.abort()");
    case 2:
      return script("while True: print('x' * 4096)");
    case 3:
      request = script("def f(x): return x");
      break;
    case 4:
      return script("#include <cstdio>\nint main() { puts(\"42\"); }", "cpp");
    case 5:
      return script("open('/tmp/a', 'w').write('x' * 100000)");
    default:
      request = script("print(input())");
      request.tests = {{std::to_string(i), std::to_string(i)}};
      return request;
  }
  request.function =
      FunctionTests{"f", "assert f(" + std::to_string(i) + ") == " + std::to_string(i), "", ""};
  return request;
}

TEST(Soak, FiveThousandRunsLeaveNothingBehind) {
  const char* chosen = std::getenv("PONDER_SOAK_RUNS");
  const int runs = chosen != nullptr ? std::atoi(chosen) : 5000;
  const Footprint before_pool = measure();
  {
    Options options;
    options.slots = 2;
    Sandbox sandbox(options);
    const auto run_range = [&](int begin, int end) {
      for (int i = begin; i < end; ++i) {
        const Result result = sandbox.run(nth_request(i));
        ASSERT_NE(result.verdict, Verdict::kInternalError) << i << ": " << result.reason;
        const bool should_pass = i % 8 == 0 || i % 8 >= 3;
        ASSERT_EQ(result.passed, should_pass)
            << i << ": " << verdict_code(result.verdict) << result.reason;
      }
    };
    const auto run_all = [&](int count) {
      std::thread half([&] { run_range(0, count / 2); });
      run_range(count / 2, count);
      half.join();
    };
    run_all(200);  // all boxes and caches exist now
    const Footprint warm = measure();
    run_all(runs);
    const Footprint after = measure();
    EXPECT_EQ(after.processes, warm.processes);
    EXPECT_EQ(after.fds, warm.fds);
    EXPECT_EQ(after.mounts, warm.mounts);
    EXPECT_LE(after.groups, warm.groups);
    EXPECT_LT(after.resident_kb, warm.resident_kb + 4096);
  }
  const Footprint end = measure();
  EXPECT_EQ(end.processes, before_pool.processes);
  EXPECT_EQ(end.fds, before_pool.fds);
  EXPECT_EQ(end.mounts, before_pool.mounts);
}

}  // namespace
}  // namespace ponder::sandbox
