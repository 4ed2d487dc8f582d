#include "sandbox/filter.h"

#include <cerrno>
#include <cstring>
#include <memory>
#include <set>

#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "core/error.h"
#include "sandbox/memory_file.h"

namespace ponder::sandbox {

namespace {

// No honest program needs these; each is a way out, a way to hide, or kernel surface without use
// here.
constexpr const char* kForbidden[] = {
    // other interfaces to the kernel that pass this filter by, or that reach all of it
    "io_uring_setup", "io_uring_enter", "io_uring_register", "bpf", "perf_event_open",
    "userfaultfd", "init_module", "finit_module", "delete_module", "create_module", "query_module",
    "get_kernel_syms", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff", "acct",
    "quotactl", "quotactl_fd", "syslog", "vhangup", "uselib", "nfsservctl", "_sysctl",
    "lookup_dcookie", "fanotify_init", "fanotify_mark",
    // mounts and namespaces
    "mount", "umount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount",
    "mount_setattr", "fsopen", "fsconfig", "fsmount", "fspick", "unshare", "setns",
    // other processes
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease",
    "kcmp", "pidfd_getfd", "sched_setscheduler", "sched_setattr", "sched_setparam", "ioprio_set",
    "migrate_pages", "move_pages", "mbind", "set_mempolicy", "set_mempolicy_home_node",
    // keys, handles that bypass paths, clocks, machine state
    "keyctl", "add_key", "request_key", "name_to_handle_at", "open_by_handle_at", "clock_settime",
    "clock_settime64", "clock_adjtime", "clock_adjtime64", "settimeofday", "stime", "adjtimex",
    "personality", "modify_ldt", "iopl", "ioperm", "vm86", "vm86old", "sethostname",
    "setdomainname", "mknod", "mknodat", "memfd_secret",
    // objects that outlive a process or are shared between runs
    "shmget", "shmat", "shmctl", "shmdt", "semget", "semop", "semctl", "semtimedop",
    "semtimedop_time64", "msgget", "msgsnd", "msgrcv", "msgctl", "ipc", "mq_open", "mq_unlink",
    "mq_timedsend", "mq_timedreceive", "mq_notify", "mq_getsetattr", "flock",
    // addresses of sockets (pairs stay possible)
    "bind", "connect", "listen", "accept", "accept4", "socketcall"};

// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET (NEWTIME exists in clone3 and
// unshare only).
constexpr uint64_t kNamespaceFlags = 0x7E020000;
constexpr int kHighestCall = 600;

struct Release {
  void operator()(void* context) const { seccomp_release(context); }
};

void require(int result, const char* what) {
  if (result < 0) core::throw_run("[sandbox] libseccomp: {}: {}", what, std::strerror(-result));
}

// Calls that are allowed for some arguments only; the rest answers ENOSYS. Their numbers.
std::set<int> add_argument_rules(scmp_filter_ctx filter) {
  const auto allow = [&](int call, const char* name, scmp_arg_cmp condition) {
    require(seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1, condition), name);
  };
  constexpr uint64_t kLow = 0xFFFFFFFF;  // the kernel reads 32 bits of these arguments
  allow(SCMP_SYS(clone), "clone", SCMP_A0(SCMP_CMP_MASKED_EQ, kNamespaceFlags, 0));
  allow(SCMP_SYS(socketpair), "socketpair", SCMP_A0(SCMP_CMP_MASKED_EQ, kLow, AF_UNIX));
  allow(SCMP_SYS(prlimit64), "prlimit64", SCMP_A0(SCMP_CMP_MASKED_EQ, kLow, 0));
  // Every request but TIOCSTI, which types into a terminal: some bit of the low 32 differs from it.
  for (int bit = 0; bit < 32; ++bit) {
    const uint64_t mask = 1ULL << bit;
    allow(SCMP_SYS(ioctl), "ioctl",
          SCMP_A1(SCMP_CMP_MASKED_EQ, mask, ~static_cast<uint64_t>(TIOCSTI) & mask));
  }
  return {SCMP_SYS(clone), SCMP_SYS(socketpair), SCMP_SYS(prlimit64), SCMP_SYS(ioctl)};
}

}  // namespace

std::string seccomp_program(bool watch) {
  std::unique_ptr<void, Release> filter(seccomp_init(SCMP_ACT_ERRNO(ENOSYS)));
  if (!filter) core::throw_run("[sandbox] libseccomp cannot start");
  require(seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS),
          "foreign ABIs");
  require(seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2), "optimize");
  std::set<int> done;
  const auto refuse = [&](int call, int error) {
    if (call >= 0 && done.insert(call).second)
      require(seccomp_rule_add(filter.get(), SCMP_ACT_ERRNO(static_cast<uint32_t>(error)), call, 0),
              "refuse a call");
  };
  for (const char* name : kForbidden) refuse(seccomp_syscall_resolve_name(name), EPERM);
  refuse(SCMP_SYS(socket), EACCES);
  if (watch) refuse(SCMP_SYS(memfd_create), EPERM);
  done.insert(SCMP_SYS(clone3));  // its flags lie in memory, where no filter can see them: ENOSYS,
                                  // libc falls back to clone
  done.merge(add_argument_rules(filter.get()));
  for (int call = 0; call < kHighestCall; ++call) {
    char* name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, call);
    if (name == nullptr) continue;
    free(name);
    if (!done.contains(call))
      require(seccomp_rule_add(filter.get(), SCMP_ACT_ALLOW, call, 0), "allow a call");
  }
  const Fd program = empty_file("filter");
  require(seccomp_export_bpf(filter.get(), program.get()), "export");
  return content_of(program);
}

}  // namespace ponder::sandbox
