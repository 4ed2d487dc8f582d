// The box: the one program of ponder that touches namespaces. Two processes. The janitor stays
// outside as it was started, waits for the other and removes the cgroups, whoever died first. The
// other becomes an unprivileged user, then pid 1 of new user, PID, mount, network, IPC, UTS and
// cgroup namespaces, builds its file tree and serves runs until its control socket (ponder's end)
// or its life line (the janitor's end) closes. When pid 1 goes, the kernel kills everything below
// it. Started with an empty environment, descriptor 3 is the control socket, all others are closed.
#include <cerrno>
#include <csignal>
#include <cstring>

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/box/lock.h"
#include "sandbox/box/protocol.h"
#include "sandbox/box/rootfs.h"
#include "sandbox/box/run.h"
#include "sandbox/box/wire.h"

namespace ponder::sandbox {
namespace {

constexpr int kControl = 3;

[[noreturn]] void refuse(const std::string& what) {
  send_message(kControl,
               Status{StatusKind::kFailed, static_cast<uint64_t>(errno), 0, what}.encode());
  _exit(1);
}

std::string reason(const char* what) {
  return std::string(what) + ": " + std::strerror(errno);
}

void write_proc(const char* path, const std::string& text) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    refuse(reason(path));
  close(fd);
}

void drop_root() {
  if (setgroups(0, nullptr) != 0 || setresgid(kOuterId, kOuterId, kOuterId) != 0 ||
      setresuid(kOuterId, kOuterId, kOuterId) != 0)
    refuse(reason("become an unprivileged user"));
}

void map_user(unsigned uid, unsigned gid) {
  const std::string inner = std::to_string(kInnerId);
  prctl(PR_SET_DUMPABLE,
        1);  // a process that changed its user does not own its /proc/self files otherwise
  write_proc("/proc/self/setgroups", "deny");
  write_proc("/proc/self/uid_map", inner + " " + std::to_string(uid) + " 1");
  write_proc("/proc/self/gid_map", inner + " " + std::to_string(gid) + " 1");
  hide_memory();
}

void close_all(const std::vector<int>& fds) {
  for (int fd : fds) close(fd);
}

// The warm interpreter: keeps its capabilities over the exec, speaks on descriptor 3 like the box
// itself.
void start_zygote(const RunSpec& spec, const std::vector<int>& fds) {
  if (fds.size() != 2) return;
  const pid_t pid = fork();
  if (pid != 0) return;
  signal(SIGCHLD, SIG_DFL);
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  const int socket = fcntl(fds[0], F_DUPFD_CLOEXEC, 100);
  int out[2];
  if (pipe2(out, O_CLOEXEC) != 0) _exit(1);
  dup2(null, 0);
  dup2(out[1], 1);
  dup2(fds[1], 2);
  dup2(socket, kControl);
  syscall(SYS_close_range, kControl + 1, ~0U, 0U);
  std::vector<char*> argv, env;
  for (const auto& text : spec.argv) argv.push_back(const_cast<char*>(text.c_str()));
  for (const auto& text : spec.env) env.push_back(const_cast<char*>(text.c_str()));
  argv.push_back(nullptr);
  env.push_back(nullptr);
  if (keep_capabilities_at_exec()) execve(argv[0], argv.data(), env.data());
  const std::string message = reason("start the interpreter") + "\n";
  if (write(2, message.data(), message.size()) < 0) _exit(2);
  _exit(1);
}

void serve_one(const std::string& message, const std::vector<int>& fds, const std::string& filter,
               int life_line) {
  RunSpec spec;
  RunFds roles;
  if (!RunSpec::decode(message, spec)) return;
  if (spec.kind == RunKind::kZygote) return start_zygote(spec, fds);
  if (!RunFds::split(spec, fds, roles)) return;
  const pid_t pid = static_cast<pid_t>(
      syscall(SYS_clone, static_cast<long>(kRunNamespaces), nullptr, nullptr, nullptr, nullptr));
  if (pid == 0) {
    close(kControl);
    close(life_line);
    run_as_init(spec, roles, filter);
    _exit(1);
  }
  if (pid < 0)
    send_message(roles.status,
                 Status{StatusKind::kFailed, static_cast<uint64_t>(errno), 0, reason("clone a run")}
                     .encode());
}

[[noreturn]] void serve(const BoxSetup& setup, int life_line) {
  signal(SIGCHLD, SIG_IGN);  // ended runs and orphans are reaped by the kernel
  if (!send_message(kControl, Status{StatusKind::kStarted, 0, 0, ""}.encode())) _exit(1);
  std::string message;
  std::vector<int> fds;
  while (true) {
    pollfd wait[2] = {{kControl, POLLIN, 0}, {life_line, POLLIN, 0}};
    if (poll(wait, 2, -1) < 0) continue;
    if (wait[1].revents != 0) _exit(0);
    if (wait[0].revents == 0) continue;
    if (receive_message(kControl, message, fds) <= 0) _exit(0);
    serve_one(message, fds, setup.filter, life_line);
    close_all(fds);
  }
}

// Between janitor and pid 1: enters the namespaces and ends, since only a child can be in the new
// PID namespace.
[[noreturn]] void enter_namespaces(const BoxSetup& setup, const std::vector<int>& files,
                                   int life_line) {
  if (setup.drop_root) drop_root();
  const unsigned uid = getuid();
  const unsigned gid = getgid();
  if (unshare(CLONE_NEWUSER) != 0)
    refuse(reason("new user namespace") +
           " (allow them: sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
           "kernel.apparmor_restrict_unprivileged_userns, or the container's seccomp profile)");
  map_user(uid, gid);
  if (unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
              CLONE_NEWCGROUP) != 0)
    refuse(reason("new namespaces"));
  const pid_t pid = fork();
  if (pid < 0) refuse(reason("fork"));
  if (pid > 0) _exit(0);
  if (sethostname("sandbox", 7) != 0) refuse(reason("set the host name"));
  if (std::string error = enter_rootfs(setup, files); !error.empty()) refuse(error);
  close_all(files);
  if (!drop_bounding_set()) refuse(reason("drop capabilities"));
  serve(setup, life_line);
}

void remove_cgroups(const BoxSetup& setup) {
  for (const auto& dir : setup.cgroup_dirs) {
    // The last process may still be on its way out of the group.
    for (int attempt = 0; attempt < 200 && rmdir(dir.c_str()) != 0 && errno == EBUSY; ++attempt)
      usleep(5000);
  }
}

}  // namespace
}  // namespace ponder::sandbox

int main() {
  using namespace ponder::sandbox;
  setsid();
  hide_memory();
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  std::string message;
  std::vector<int> files;
  BoxSetup setup;
  int life[2];
  if (receive_message(kControl, message, files) <= 0) return 0;
  if (!BoxSetup::decode(message, setup) || pipe2(life, O_CLOEXEC) != 0) refuse("malformed set-up");
  const pid_t pid = fork();
  if (pid < 0) refuse(reason("fork"));
  if (pid == 0) {
    close(life[1]);
    enter_namespaces(setup, files, life[0]);
  }
  close(life[0]);
  close(kControl);
  while (waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
  }
  remove_cgroups(setup);
  return 0;
}
