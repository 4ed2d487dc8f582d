// The system call filter as the kernel would run it: every call number, and the arguments that
// decide.
#include "sandbox/filter.h"

#include <cstring>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace ponder::sandbox {
namespace {

// The classic BPF of seccomp(2): loads of 32 bits, forward jumps, returns.
uint32_t answer_of(const std::string& program, const seccomp_data& data) {
  std::vector<sock_filter> code(program.size() / sizeof(sock_filter));
  std::memcpy(code.data(), program.data(), program.size());
  uint32_t value = 0;
  for (size_t at = 0; at < code.size(); ++at) {
    const sock_filter& step = code[at];
    bool taken = false;
    switch (step.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        std::memcpy(&value, reinterpret_cast<const char*>(&data) + step.k, sizeof value);
        continue;
      case BPF_RET | BPF_K:
        return step.k;
      case BPF_JMP | BPF_JEQ | BPF_K:
        taken = value == step.k;
        break;
      case BPF_JMP | BPF_JGE | BPF_K:
        taken = value >= step.k;
        break;
      case BPF_JMP | BPF_JSET | BPF_K:
        taken = (value & step.k) != 0;
        break;
      default:
        ADD_FAILURE() << "an instruction of another kind: " << step.code;
        return 0;
    }
    at += taken ? step.jt : step.jf;
  }
  ADD_FAILURE() << "the program ends without an answer";
  return 0;
}

uint32_t answer(int call, uint64_t first = 0, uint64_t second = 0, bool watch = false) {
  seccomp_data data{};
  data.nr = call;
  data.arch = seccomp_arch_native();
  data.args[0] = first;
  data.args[1] = second;
  return answer_of(seccomp_program(watch), data);
}

int number(const char* name) {
  return seccomp_syscall_resolve_name(name);
}

constexpr uint32_t refused(int error) {
  return SECCOMP_RET_ERRNO | static_cast<uint32_t>(error);
}

TEST(Filter, OrdinaryCallsAreAllowed) {
  for (const char* name : {"read", "write", "openat", "mmap", "execve", "fork", "vfork", "wait4",
                           "exit_group", "futex", "kill", "pipe2", "memfd_create", "getrandom",
                           "sendmsg", "recvmsg", "prctl", "seccomp", "landlock_create_ruleset"})
    EXPECT_EQ(answer(number(name)), SECCOMP_RET_ALLOW) << name;
}

// The list of the hostile suite's specification, not the filter's own.
TEST(Filter, DangerousCallsAreRefused) {
  for (const char* name : {"io_uring_setup",
                           "io_uring_enter",
                           "io_uring_register",
                           "bpf",
                           "perf_event_open",
                           "userfaultfd",
                           "init_module",
                           "finit_module",
                           "delete_module",
                           "kexec_load",
                           "reboot",
                           "swapon",
                           "acct",
                           "quotactl",
                           "syslog",
                           "mount",
                           "umount2",
                           "pivot_root",
                           "chroot",
                           "open_tree",
                           "move_mount",
                           "fsopen",
                           "fsconfig",
                           "fsmount",
                           "fspick",
                           "mount_setattr",
                           "setns",
                           "unshare",
                           "ptrace",
                           "process_vm_readv",
                           "process_vm_writev",
                           "kcmp",
                           "pidfd_getfd",
                           "keyctl",
                           "add_key",
                           "request_key",
                           "name_to_handle_at",
                           "open_by_handle_at",
                           "clock_settime",
                           "settimeofday",
                           "adjtimex",
                           "personality",
                           "modify_ldt",
                           "iopl",
                           "ioperm",
                           "shmget",
                           "semget",
                           "msgget",
                           "mq_open",
                           "mknod"}) {
    ASSERT_GE(number(name), 0) << name;
    EXPECT_EQ(answer(number(name)), refused(EPERM)) << name;
  }
  EXPECT_EQ(answer(number("socket"), AF_INET), refused(EACCES));
  EXPECT_EQ(answer(number("clone3")), refused(ENOSYS));
  EXPECT_EQ(answer(number("memfd_create"), 0, 0, true), refused(EPERM));
}

TEST(Filter, EveryNumberHasOneOfTheAnswers) {
  for (int call = 0; call < 2000; ++call) {
    const uint32_t got = answer(call);
    char* name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, call);
    const bool known = name != nullptr;
    free(name);
    if (!known) {
      EXPECT_EQ(got, refused(ENOSYS)) << call;
    }
    EXPECT_TRUE(got == SECCOMP_RET_ALLOW || got == refused(EPERM) || got == refused(EACCES) ||
                got == refused(ENOSYS))
        << call;
  }
  EXPECT_EQ(answer(-1), refused(ENOSYS));
}

TEST(Filter, ArgumentsDecide) {
  EXPECT_EQ(answer(number("clone"), SIGCHLD), SECCOMP_RET_ALLOW);
  for (const uint64_t flag : {CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC,
                              CLONE_NEWUTS, CLONE_NEWCGROUP})
    EXPECT_EQ(answer(number("clone"), flag | SIGCHLD), refused(ENOSYS)) << flag;
  EXPECT_EQ(answer(number("socketpair"), AF_UNIX), SECCOMP_RET_ALLOW);
  EXPECT_EQ(answer(number("socketpair"), AF_INET), refused(ENOSYS));
  EXPECT_EQ(answer(number("prlimit64"), 0), SECCOMP_RET_ALLOW);
  EXPECT_EQ(answer(number("prlimit64"), 1), refused(ENOSYS));
  EXPECT_EQ(answer(number("fcntl"), 0, F_NOTIFY), refused(ENOSYS));
  EXPECT_EQ(answer(number("fcntl"), 0, F_GETFL), SECCOMP_RET_ALLOW);
  EXPECT_EQ(answer(number("ioctl"), 0, TIOCGWINSZ), SECCOMP_RET_ALLOW);
  EXPECT_EQ(answer(number("ioctl"), 0, TIOCSTI), refused(ENOSYS));
  // The kernel reads 32 bits: bits above change nothing.
  EXPECT_EQ(answer(number("ioctl"), 0, 0x100000000ULL | TIOCSTI), refused(ENOSYS));
  EXPECT_EQ(answer(number("prlimit64"), 0x100000000ULL), SECCOMP_RET_ALLOW);
}

TEST(Filter, ForeignInterfacesKill) {
  seccomp_data data{};
  data.arch = seccomp_arch_native() == AUDIT_ARCH_I386 ? AUDIT_ARCH_X86_64 : AUDIT_ARCH_I386;
  EXPECT_EQ(answer_of(seccomp_program(false), data), SECCOMP_RET_KILL_PROCESS);
  if (seccomp_arch_native() != SCMP_ARCH_X86_64) return;
  for (const int x32 : {0x40000000, 0x40000000 + 39, 0x7FFFFFFF})
    EXPECT_EQ(answer(x32), SECCOMP_RET_KILL_PROCESS) << x32;
}

TEST(Filter, IsShort) {
  EXPECT_LT(seccomp_program(false).size() / sizeof(sock_filter), 160U);
}

}  // namespace
}  // namespace ponder::sandbox
