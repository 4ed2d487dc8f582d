#include "sandbox/filter.h"

#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <map>
#include <vector>

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "core/error.h"

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
    // would tell what the host and other runs do with files that all can see
    "inotify_init", "inotify_init1", "inotify_add_watch",
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
constexpr uint32_t kNamespaceFlags = 0x7E020000;
constexpr uint32_t kHighestCall = 600;
constexpr uint32_t kX32Calls = 0x40000000;

constexpr uint32_t kAllow = SECCOMP_RET_ALLOW, kKill = SECCOMP_RET_KILL_PROCESS;
constexpr uint32_t refusal(int error) {
  return SECCOMP_RET_ERRNO | static_cast<uint32_t>(error);
}

// Calls that are allowed for some values of the low 32 bits of one argument only (the kernel reads
// no more of these); the rest answers ENOSYS. clone3 keeps its flags in memory, where no filter can
// see them, so it is unknown here (ENOSYS) and libc falls back to clone.
struct ArgumentRule {
  int call, argument;
  enum { kOnly, kNot, kNoBitOf } test;
  uint32_t value;
};
const ArgumentRule kArgumentRules[] = {
    {SCMP_SYS(clone), 0, ArgumentRule::kNoBitOf, kNamespaceFlags},
    {SCMP_SYS(socketpair), 0, ArgumentRule::kOnly, AF_UNIX},
    {SCMP_SYS(prlimit64), 0, ArgumentRule::kOnly, 0},    // oneself
    {SCMP_SYS(fcntl), 1, ArgumentRule::kNot, F_NOTIFY},  // as inotify
    {SCMP_SYS(ioctl), 1, ArgumentRule::kNot, TIOCSTI},
};

// Call number -> what to answer without a look at the arguments. Calls that libseccomp does not
// know are absent.
std::map<uint32_t, uint32_t> answers(bool watch) {
  std::map<uint32_t, uint32_t> out;
  for (uint32_t call = 0; call < kHighestCall; ++call) {
    char* name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, static_cast<int>(call));
    if (name != nullptr) out[call] = kAllow;
    free(name);
  }
  const auto refuse = [&](int call, int error) {
    if (call >= 0) out[static_cast<uint32_t>(call)] = refusal(error);
  };
  for (const char* name : kForbidden) refuse(seccomp_syscall_resolve_name(name), EPERM);
  refuse(SCMP_SYS(socket), EACCES);
  if (watch) refuse(SCMP_SYS(memfd_create), EPERM);
  refuse(SCMP_SYS(clone3), ENOSYS);
  return out;
}

// Assembles a classic BPF program. Jumps go forward to labels that are placed later.
class Assembler {
 public:
  using Label = size_t;
  Label label() {
    places_.push_back(0);
    return places_.size() - 1;
  }
  void place(Label label) { places_[label] = code_.size(); }
  void load(size_t offset) { emit(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset)); }
  void answer(uint32_t action) { emit(BPF_RET | BPF_K, action); }
  // `test`: BPF_JEQ, BPF_JGE or BPF_JSET.
  void branch(int test, uint32_t value, Label yes, Label no) {
    branches_.push_back({code_.size(), yes, no});
    emit(BPF_JMP | test | BPF_K, value);
  }
  std::string finish() {
    for (const auto& [at, yes, no] : branches_) {
      code_[at].jt = distance(at, yes);
      code_[at].jf = distance(at, no);
    }
    return {reinterpret_cast<const char*>(code_.data()), code_.size() * sizeof(sock_filter)};
  }

 private:
  struct Branch {
    size_t at;
    Label yes, no;
  };
  void emit(int code, uint32_t value) {
    code_.push_back({static_cast<uint16_t>(code), 0, 0, value});
  }
  uint8_t distance(size_t from, Label to) const {
    const size_t steps = places_[to] - from - 1;
    PONDER_CHECK(steps <= 255, "[sandbox] a jump of the filter is too long: {}", steps);
    return static_cast<uint8_t>(steps);
  }
  std::vector<sock_filter> code_;
  std::vector<Branch> branches_;
  std::vector<size_t> places_;
};

// Calls from `first` up to the next range's first go to `to`.
struct Range {
  uint32_t first;
  Assembler::Label to;
};

void search(Assembler& out, const std::vector<Range>& ranges, size_t begin, size_t end) {
  const size_t middle = (begin + end) / 2;
  const Assembler::Label low = out.label(), high = out.label();
  const auto target = [&](size_t from, size_t to, Assembler::Label subtree) {
    return to - from == 1 ? ranges[from].to : subtree;
  };
  out.branch(BPF_JGE, ranges[middle].first, target(middle, end, high), target(begin, middle, low));
  out.place(low);
  if (middle - begin > 1) search(out, ranges, begin, middle);
  out.place(high);
  if (end - middle > 1) search(out, ranges, middle, end);
}

}  // namespace

std::string seccomp_program(bool watch) {
  Assembler out;
  const Assembler::Label native = out.label(), kill = out.label();
  out.load(offsetof(seccomp_data, arch));
  out.branch(BPF_JEQ, seccomp_arch_native(), native, kill);
  out.place(kill);
  out.answer(kKill);
  out.place(native);
  out.load(offsetof(seccomp_data, nr));
  std::map<uint32_t, Assembler::Label> by_answer;  // one instruction for each different answer
  const auto answering = [&](uint32_t action) {
    const auto [found, fresh] = by_answer.try_emplace(action);
    if (fresh) found->second = out.label();
    return found->second;
  };
  std::map<uint32_t, Assembler::Label> by_call;
  for (const auto& [call, action] : answers(watch)) by_call[call] = answering(action);
  std::vector<Assembler::Label> rules;
  for (const auto& rule : kArgumentRules) {
    rules.push_back(out.label());
    by_call[static_cast<uint32_t>(rule.call)] = rules.back();
  }
  std::vector<Range> ranges;
  const auto add = [&](uint32_t first, Assembler::Label to) {
    if (ranges.empty() || ranges.back().to != to) ranges.push_back({first, to});
  };
  for (uint32_t call = 0; call < kHighestCall; ++call)
    add(call, by_call.contains(call) ? by_call.at(call) : answering(refusal(ENOSYS)));
  add(kHighestCall, answering(refusal(ENOSYS)));
  if (seccomp_arch_native() == SCMP_ARCH_X86_64) add(kX32Calls, answering(kKill));
  add(UINT32_MAX, answering(refusal(ENOSYS)));  // -1: a call that a tracer has cancelled
  search(out, ranges, 0, ranges.size());
  for (size_t i = 0; i < rules.size(); ++i) {
    const ArgumentRule& rule = kArgumentRules[i];
    const Assembler::Label allow = answering(kAllow), refuse = answering(refusal(ENOSYS));
    const size_t low_half = std::endian::native == std::endian::little ? 0 : 4;
    out.place(rules[i]);
    out.load(offsetof(seccomp_data, args) + 8 * static_cast<size_t>(rule.argument) + low_half);
    const bool only = rule.test == ArgumentRule::kOnly;
    out.branch(rule.test == ArgumentRule::kNoBitOf ? BPF_JSET : BPF_JEQ, rule.value,
               only ? allow : refuse, only ? refuse : allow);
  }
  for (const auto& [action, label] : by_answer) {
    out.place(label);
    out.answer(action);
  }
  return out.finish();
}

}  // namespace ponder::sandbox
