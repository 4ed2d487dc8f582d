// What is left when runs, pools and ponder itself end: nothing. And what other users and machines
// get.
#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "sandbox/cgroup.h"
#include "tests/sandbox/support.h"

namespace ponder::sandbox {
namespace {

namespace fs = std::filesystem;

// Pids of all processes below `root`, seen from the host.
std::set<pid_t> descendants(pid_t root) {
  std::set<pid_t> found;
  std::vector<pid_t> open = {root};
  while (!open.empty()) {
    const pid_t pid = open.back();
    open.pop_back();
    std::error_code gone;
    for (const auto& task :
         fs::directory_iterator("/proc/" + std::to_string(pid) + "/task", gone)) {
      std::ifstream children(task.path() / "children");
      for (pid_t child; children >> child;)
        if (found.insert(child).second) open.push_back(child);
    }
  }
  return found;
}

size_t num_groups_of(pid_t owner) {
  size_t count = 0;
  for (const auto& [name, parent] : CgroupLayout::detect().parents)
    for (const auto& entry : fs::directory_iterator(parent))
      if (entry.path().filename().string().rfind("ponder-" + std::to_string(owner) + "-", 0) == 0)
        ++count;
  return count;
}

size_t num_fds() {
  return static_cast<size_t>(std::distance(fs::directory_iterator("/proc/self/fd"), {}));
}

template <typename Condition>
bool soon(Condition condition) {
  for (int i = 0; i < 200; ++i) {
    if (condition()) return true;
    usleep(10'000);
  }
  return false;
}

Options one_slot() {
  Options options;
  options.slots = 1;
  return options;
}

TEST(Lifetime, APoolThatEndsLeavesNothing) {
  const size_t fds = num_fds();
  const auto before = descendants(getpid());
  {
    Sandbox sandbox(one_slot());
    EXPECT_TRUE(
        sandbox.run(script("import os\nif os.fork() == 0:\n    import time; time.sleep(100)"))
            .passed);
    EXPECT_GT(descendants(getpid()).size(), before.size());
  }
  EXPECT_EQ(descendants(getpid()), before);
  EXPECT_EQ(num_fds(), fds);
}

TEST(Lifetime, NoProcessOfARunOutlivesItsVerdict) {
  Sandbox sandbox(one_slot());
  sandbox.run(script("print(1)"));
  const auto before = descendants(getpid());
  for (int i = 0; i < 5; ++i) {
    sandbox.run(
        script("import os, time\nfor _ in range(5):\n    if os.fork() == 0:\n        os.setsid(); "
               "time.sleep(100)"));
    EXPECT_EQ(descendants(getpid()).size(), before.size());
  }
}

// The tests' process adopts what a killed child leaves behind, so it sees it.
TEST(Lifetime, AKilledPonderTakesEverythingWithIt) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  const auto before = descendants(getpid());
  int ready[2];
  ASSERT_EQ(pipe2(ready, O_CLOEXEC), 0);
  const pid_t pid = fork();
  if (pid == 0) {
    alarm(30);
    Sandbox sandbox(one_slot());
    Request sleeper = script("import os, time\nos.fork()\ntime.sleep(100)");
    sleeper.limits.wall_s = 100;
    std::thread runner([&] { sandbox.run(sleeper); });
    while (descendants(getpid()).size() < 6)
      usleep(1000);  // janitor, box, interpreter, init, program, its child
    if (write(ready[1], "x", 1) != 1) _exit(1);
    runner.join();
    _exit(0);
  }
  close(ready[1]);
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  close(ready[0]);
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  EXPECT_TRUE(soon([&] {
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    return descendants(getpid()) == before;
  }));
  EXPECT_TRUE(soon([&] { return num_groups_of(pid) == 0; }));
}

TEST(Lifetime, ParallelRunsDoNotMix) {
  Options options;
  options.slots = 2;
  Sandbox sandbox(options);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10; ++i) {
        const std::string mark = std::to_string(1000 * t + i);
        Request request = script(
            "import os\nx = input()\nassert os.listdir('/dev/shm') == []\nopen('/dev/shm/x', "
            "'w').write(x)\nprint(x)");
        request.tests = {{mark + "\n", mark}};
        if (!sandbox.run(request).passed) ++wrong;
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Lifetime, AKilledBoxIsReplaced) {
  Sandbox sandbox(one_slot());
  EXPECT_TRUE(sandbox.run(script("print(1)")).passed);
  for (const pid_t pid : descendants(getpid())) {
    std::ifstream name("/proc/" + std::to_string(pid) + "/comm");
    std::string comm;
    name >> comm;
    if (comm == "ponder-box" || comm == "4") kill(pid, SIGKILL);
  }
  EXPECT_TRUE(sandbox.run(script("print(1)")).passed);
}

TEST(Guarantees, AllHoldHere) {
  for (const bool cgroups : {true, false}) {
    Options options = one_slot();
    options.use_cgroups = cgroups;
    const auto guarantees = probe_guarantees(options);
    EXPECT_GE(guarantees.size(), 8U);
    for (const auto& guarantee : guarantees)
      EXPECT_NE(guarantee.state, Guarantee::State::kMissing)
          << guarantee.name << ": " << guarantee.detail;
  }
}

TEST(Guarantees, AnUnknownNameToAllowIsAnError) {
  Options options = one_slot();
  options.allow_weaker = {"memroy"};
  try {
    Sandbox sandbox(options);
    FAIL();
  } catch (const core::UserError& error) {
    EXPECT_NE(std::string(error.what()).find("did you mean 'memory'"), std::string::npos)
        << error.what();
  }
}

// Runs `body` as a user without any privilege; its value is the exit status.
int as_ordinary_user(int (*body)()) {
  const pid_t pid = fork();
  if (pid == 0) {
    if (setgroups(0, nullptr) != 0 || setresgid(54321, 54321, 54321) != 0 ||
        setresuid(54321, 54321, 54321) != 0)
      _exit(100);
    prctl(PR_SET_DUMPABLE, 1);
    try {
      _exit(body());
    } catch (const std::exception& error) {
      fprintf(stderr, "%s\n", error.what());
      _exit(101);
    }
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 102;
}

TEST(OrdinaryUser, GetsTheSameVerdicts) {
  if (geteuid() != 0) GTEST_SKIP() << "this test process is one already";
  EXPECT_EQ(as_ordinary_user([] {
              for (const auto& guarantee : probe_guarantees(one_slot()))
                if (guarantee.state == Guarantee::State::kMissing) return 1;
              Sandbox sandbox(one_slot());
              if (!sandbox.run(script("print(open('/proc/self/status').read(0))")).passed) return 2;
              if (sandbox.run(script("while True: pass")).verdict != Verdict::kTimeLimit) return 3;
              if (sandbox.run(script("open('/etc/shadow')")).verdict != Verdict::kRuntimeError)
                return 4;
              if (sandbox.run(script("import socket; socket.socket()")).passed) return 5;
              const char* children =
                  "import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n        b = "
                  "bytearray(60 << 20); "
                  "b[::4096] = b'x' * len(b[::4096]); time.sleep(60)\ntime.sleep(60)";
              if (sandbox.run(script(children)).verdict != Verdict::kMemoryLimit) return 6;
              Request function = script("def f(x): return x + 1");
              function.function = FunctionTests{"f", "assert f(1) == 2", "", ""};
              if (!sandbox.run(function).passed) return 7;
              Request compiled = script("#include <cstdio>\nint main() { puts(\"42\"); }", "cpp");
              compiled.tests = {{"", "42"}};
              return sandbox.run(compiled).passed ? 0 : 8;
            }),
            0);
}

}  // namespace
}  // namespace ponder::sandbox
