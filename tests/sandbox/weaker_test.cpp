// Machines that give less: each is made by taking something away from this one, in a child process.
// What is missing is refused by name, and only that can be allowed.
#include <algorithm>
#include <fstream>

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "tests/sandbox/support.h"

namespace ponder::sandbox {
namespace {

constexpr int kCannotPrepare = 77;

// Exit status of `body` in a child.
int in_child(int (*body)()) {
  const pid_t pid = fork();
  if (pid == 0) {
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

bool put(const char* path, const std::string& text) {
  std::ofstream file(path);
  file << text << std::flush;
  return file.good();
}

bool become_root_of_a_user_namespace() {
  const std::string uid = std::to_string(getuid()), gid = std::to_string(getgid());
  return unshare(CLONE_NEWUSER) == 0 && put("/proc/self/setgroups", "deny") &&
         put("/proc/self/uid_map", "0 " + uid + " 1") &&
         put("/proc/self/gid_map", "0 " + gid + " 1");
}

// The error of a pool with `allowed`; "" if it starts and runs a program.
std::string refusal(std::vector<std::string> allowed) {
  Options options;
  options.slots = 1;
  options.allow_weaker = std::move(allowed);
  try {
    Sandbox sandbox(options);
    const Result result = sandbox.run(script("print(6 * 7)"));
    return result.out == "42\n" ? "" : "the program failed: " + result.reason;
  } catch (const core::UserError& error) {
    return error.what();
  }
}

bool names(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

TEST(WeakerMachine, WithoutUserNamespacesNothingRuns) {
  EXPECT_EQ(
      in_child([] {
        if (!become_root_of_a_user_namespace() || !put("/proc/sys/user/max_user_namespaces", "0"))
          return kCannotPrepare;
        for (const auto& allowed : {std::vector<std::string>{}, {"isolation"}}) {
          const std::string error = refusal(allowed);
          if (!names(error, "'isolation'") || !names(error, "nothing is run without it")) return 1;
          if (!names(error, "max_user_namespaces")) return 2;
        }
        return 0;
      }),
      0);
}

TEST(WeakerMachine, AContainerThatForbidsUnshareRunsNothing) {
  EXPECT_EQ(in_child([] {
              scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
              if (seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(unshare), 0) != 0 ||
                  seccomp_load(filter) != 0)
                return kCannotPrepare;
              const std::string error = refusal({});
              return names(error, "'isolation'") && names(error, "seccomp profile") ? 0 : 1;
            }),
            0);
}

TEST(WeakerMachine, RootOfARootlessContainerIsAnOrdinaryUser) {
  EXPECT_EQ(in_child([] {
              if (!become_root_of_a_user_namespace()) return kCannotPrepare;
              const std::string error = refusal({});
              if (!error.empty()) fprintf(stderr, "%s\n", error.c_str());
              return error.empty() ? 0 : 1;
            }),
            0);
}

// As in a container: /proc is partly covered, so no other can be mounted, and no cgroup is
// writable.
TEST(WeakerMachine, WithoutProcAndCgroupsTheLimitsAreRefusedByName) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root to cover /proc";
  EXPECT_EQ(in_child([] {
              if (unshare(CLONE_NEWNS) != 0 ||
                  mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
                  mount("tmpfs", "/proc/sys", "tmpfs", 0, nullptr) != 0 ||
                  setgroups(0, nullptr) != 0 || setresgid(54321, 54321, 54321) != 0 ||
                  setresuid(54321, 54321, 54321) != 0)
                return kCannotPrepare;
              prctl(PR_SET_DUMPABLE, 1);
              const std::string both = refusal({}), one = refusal({"memory"});
              if (!names(both, "'memory'") || !names(both, "--allow-weaker memory")) return 1;
              if (!names(both, "'cpu'") || names(both, "'network'")) return 2;
              if (names(one, "'memory'") || !names(one, "'cpu'")) return 3;
              return refusal({"memory", "cpu"}).empty() ? 0 : 4;
            }),
            0);
}

}  // namespace
}  // namespace ponder::sandbox
