#include "sandbox/box/run.h"

#include <cerrno>
#include <csignal>
#include <cstring>

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/box/lock.h"
#include "sandbox/box/probe.h"
#include "sandbox/box/watch.h"
#include "sandbox/box/wire.h"

namespace ponder::sandbox {

namespace {

[[noreturn]] void fail(int status, const std::string& what, bool at_exec = false) {
  const Status report{StatusKind::kFailed, static_cast<uint64_t>(errno), at_exec,
                      what + ": " + std::strerror(errno)};
  send_message(status, report.encode());
  _exit(1);
}

bool write_all(int fd, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t written = write(fd, data, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    data += written;
    size -= static_cast<size_t>(written);
  }
  return true;
}

// Copies the whole of memory file `from` (whatever its offset) to `to`.
bool copy_file(int from, int to, uint64_t bytes_max) {
  char buffer[1 << 16];
  off_t at = 0;
  while (true) {
    const ssize_t got = pread(from, buffer, sizeof buffer, at);
    if (got < 0) return false;
    if (got == 0) return true;
    at += got;
    if (static_cast<uint64_t>(at) > bytes_max) {
      errno = EFBIG;
      return false;
    }
    if (!write_all(to, buffer, static_cast<size_t>(got))) return false;
  }
}

void mount_tmpfs(int status, const char* target, const RunSpec& spec) {
  const std::string options =
      "size=" + std::to_string(spec.disk_bytes) + ",nr_inodes=" + std::to_string(spec.inodes) +
      ",mode=1777,uid=" + std::to_string(kInnerId) + ",gid=" + std::to_string(kInnerId);
  if (mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, options.c_str()) != 0)
    fail(status, std::string("mount a tmpfs on ") + target);
}

// A /proc of the new PID namespace, read-only, without the files outside /proc/PID and without
// processes that the reader may not trace (the init). Where the kernel refuses (a masked /proc in a
// container) nothing may shine through: an empty one.
void mount_proc(int status) {
  const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY;
  if (mount("proc", "/proc", "proc", flags, "hidepid=ptraceable,subset=pid") == 0) return;
  if (mount("proc", "/proc", "proc", flags, "hidepid=2") == 0) return;
  if (mount("tmpfs", "/proc", "tmpfs", flags, "size=4k,nr_inodes=2") != 0)
    fail(status, "hide /proc");
}

void write_files(const RunSpec& spec, const RunFds& fds) {
  if (mkdir(kWorkDir, 0755) != 0 || chdir(kWorkDir) != 0)
    fail(fds.status, "make the work directory");
  for (size_t i = 0; i < fds.files.size(); ++i) {
    const int to = open(spec.file_names[i].c_str(),
                        O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (to < 0 || !copy_file(fds.files[i], to, spec.disk_bytes))
      fail(fds.status, "write " + spec.file_names[i]);
    close(to);
  }
}

// Everything the new main process inherits or owns, set to what the limits say. Soft equals hard:
// nothing to raise.
void limit(int resource, uint64_t value) {
  rlimit current{};
  getrlimit(static_cast<__rlimit_resource_t>(resource), &current);
  const rlim_t bounded = value < current.rlim_max ? value : current.rlim_max;
  const rlimit wanted{bounded, bounded};
  setrlimit(static_cast<__rlimit_resource_t>(resource), &wanted);
}

void set_limits(const RunSpec& spec) {
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_CPU, spec.cpu_s + 1);
  limit(RLIMIT_FSIZE, spec.file_bytes);
  limit(RLIMIT_NOFILE, spec.open_files);
  limit(RLIMIT_STACK, spec.stack_bytes);
  limit(RLIMIT_MEMLOCK, 0);
  limit(RLIMIT_MSGQUEUE, 0);
  // No more priority than an ordinary process has, and none to win back.
  if (getpriority(PRIO_PROCESS, 0) < 0) setpriority(PRIO_PROCESS, 0, 0);
  limit(RLIMIT_NICE, 0);
  limit(RLIMIT_RTPRIO, 0);
  limit(RLIMIT_SIGPENDING, 1024);
  if (!spec.watch) return;
  limit(RLIMIT_DATA, spec.memory_bytes);
  // Counted per user and user namespace: the box's init, the warm interpreter and the run's init
  // are in it too.
  limit(RLIMIT_NPROC, spec.pids + 3);
}

void place_descriptors(const RunSpec& spec, const RunFds& fds, int& binary) {
  // First out of the way of the low numbers, then down to them.
  std::vector<int> wanted = {fds.in, fds.out, fds.err};
  wanted.insert(wanted.end(), fds.extra.begin(), fds.extra.end());
  for (int& fd : wanted) fd = fcntl(fd, F_DUPFD_CLOEXEC, 200);
  if (binary >= 0) binary = fcntl(binary, F_DUPFD_CLOEXEC, 200);
  const int num = static_cast<int>(wanted.size());
  const int status = fcntl(fds.status, F_DUPFD_CLOEXEC, 200);
  for (int i = 0; i < num; ++i)
    if (wanted[static_cast<size_t>(i)] < 0 || dup2(wanted[static_cast<size_t>(i)], i) < 0)
      fail(status, "place descriptors");
  const bool execs = spec.kind == RunKind::kExec;
  if (execs) {
    // The binary and the status socket close themselves at the exec.
    syscall(SYS_close_range, num, ~0U, 1U << 2 /* CLOSE_RANGE_CLOEXEC */);
    return;
  }
  if (spec.kind == RunKind::kProbe) return;
  syscall(SYS_close_range, num, ~0U, 0U);
}

void reset_signals(bool execs) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGCHLD, SIG_DFL);
  if (!execs) return;
  for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL);
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (const auto& text : texts) out.push_back(const_cast<char*>(text.c_str()));
  out.push_back(nullptr);
  return out;
}

// The main process, up to the last trusted instruction. Returns for kinds that an interpreter
// continues.
void become_untrusted(const RunSpec& spec, const RunFds& fds, const std::string& filter) {
  setsid();
  const bool execs = spec.kind == RunKind::kExec;
  reset_signals(execs);
  const std::vector<char*> argv = pointers(spec.argv);
  const std::vector<char*> env = pointers(spec.env);
  umask(022);
  if (!drop_capabilities()) fail(fds.status, "drop capabilities");
  int binary = fds.binary;
  int status = fds.status;
  if (execs || spec.kind == RunKind::kProbe) status = fcntl(fds.status, F_DUPFD_CLOEXEC, 190);
  place_descriptors(spec, fds, binary);
  set_limits(spec);  // after it: the descriptors pass through high numbers
  prctl(PR_SET_DUMPABLE, 1);
  if (!install_filter(filter)) fail(status, "install the system call filter");
  if (spec.kind == RunKind::kProbe) {
    send_message(status, Status{StatusKind::kReport, 0, 0, probe_from_inside()}.encode());
    _exit(0);
  }
  if (!execs) return;
  if (binary >= 0)
    syscall(SYS_execveat, binary, "", argv.data(), env.data(), AT_EMPTY_PATH);
  else
    execve(argv[0], argv.data(), env.data());
  fail(status, "execute " + spec.argv[0], true);
}

std::string collect(const RunSpec& spec, const RunFds& fds) {
  kill(-1, SIGKILL);
  const int from = open(spec.collect.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  struct stat about {};
  if (from < 0 || fstat(from, &about) != 0)
    return "no output file: " + std::string(std::strerror(errno));
  if (!S_ISREG(about.st_mode)) return "the output is not a file";
  if (!copy_file(from, fds.collect, spec.collect_bytes_max))
    return std::string("output file: ") + std::strerror(errno);
  return "";
}

// Waits for the main process while orphans of the run arrive and are reaped.
int wait_for_main(pid_t main_process, const RunSpec& spec, int status_socket) {
  int status = 0;
  while (true) {
    const pid_t pid = waitpid(-1, &status, spec.watch ? WNOHANG : 0);
    if (pid == main_process) return status;
    if (pid == 0) {
      wait_for_child(10);
      const Usage usage = usage_of_all();
      send_message(status_socket,
                   Status{StatusKind::kUsage, usage.cpu_ns, usage.memory_bytes, ""}.encode());
    }
  }
}

}  // namespace

bool RunFds::split(const RunSpec& spec, const std::vector<int>& fds, RunFds& out) {
  size_t next = 0;
  const auto take = [&] { return next < fds.size() ? fds[next++] : (++next, -1); };
  out.status = take();
  out.in = take();
  out.out = take();
  out.err = take();
  if (spec.has_binary) out.binary = take();
  for (uint64_t i = 0; i < spec.num_extra; ++i) out.extra.push_back(take());
  for (size_t i = 0; i < spec.file_names.size(); ++i) out.files.push_back(take());
  for (uint64_t i = 0; i < spec.num_cgroups; ++i) out.cgroups.push_back(take());
  if (!spec.collect.empty()) out.collect = take();
  return next == fds.size();
}

// Host name, System V IPC, message queues, sockets and cgroups have no state that a run could
// change (the filter refuses the calls), so they are isolated once, by the box.
const int kRunNamespaces = CLONE_NEWPID | CLONE_NEWNS | SIGCHLD;

void hide_memory() {
  prctl(PR_SET_DUMPABLE, 0);
}

void run_as_init(const RunSpec& spec, const RunFds& fds, const std::string& filter) {
  signal(SIGCHLD, SIG_DFL);
  if (spec.watch) block_child_signal();
  for (int cgroup : fds.cgroups) {
    if (!write_all(cgroup, "0", 1)) fail(fds.status, "join the cgroup");
    close(cgroup);
  }
  prctl(PR_SET_DUMPABLE,
        1);  // only while it opens its own oom_score_adj; no untrusted process exists yet
  const int oom = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  hide_memory();
  mount_tmpfs(fds.status, "/tmp", spec);
  mount_tmpfs(fds.status, "/dev/shm", spec);
  mount_proc(fds.status);
  write_files(spec, fds);
  std::string last_words;
  last_words.reserve(1024);
  const int self = static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0));
  if (self < 0 ||
      !send_message(fds.status, Status{StatusKind::kStarted, 0, 0, ""}.encode(), {self}))
    fail(fds.status, "announce the run");
  close(self);
  // The program is the first to be killed for want of memory, its init the last.
  if (oom >= 0) write_all(oom, "1000", 4);
  const pid_t main_process = fork();
  if (main_process < 0) fail(fds.status, "fork");
  if (main_process == 0) {
    become_untrusted(spec, fds, filter);
    return;
  }
  if (oom >= 0) write_all(oom, "0", 1);
  for (int fd : {fds.in, fds.out, fds.err}) close(fd);
  for (int fd : fds.extra) close(fd);
  const int status = wait_for_main(main_process, spec, fds.status);
  Status report{StatusKind::kExited, static_cast<uint64_t>(status), 0, ""};
  if (!spec.collect.empty() && WIFEXITED(status) && WEXITSTATUS(status) == 0)
    report.text = collect(spec, fds);
  report.detail = spec.watch ? usage_of_all().cpu_ns : cpu_ns_of_reaped();
  report.peak = peak_bytes_of_reaped();
  send_message(fds.status, report.encode(std::move(last_words)));
  _exit(0);
}

}  // namespace ponder::sandbox
