#include "sandbox/box/probe.h"

#include <cerrno>
#include <csignal>

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace ponder::sandbox {

namespace {

bool opens(const char* path, int flags) {
  const int fd = open(path, flags | O_CLOEXEC, 0600);
  if (fd >= 0) close(fd);
  return fd >= 0;
}

bool makes_socket(int family, int type) {
  const int fd = socket(family, type, 0);
  if (fd >= 0) close(fd);
  return fd >= 0;
}

}  // namespace

std::string probe_from_inside() {
  std::string worked;
  const auto tried = [&](const char* name, bool success) {
    if (success) worked += std::string(name) + "\n";
  };
  tried("socket", makes_socket(AF_INET, SOCK_STREAM) || makes_socket(AF_INET6, SOCK_DGRAM) ||
                      makes_socket(AF_UNIX, SOCK_STREAM));
  tried("shadow", opens("/etc/shadow", O_RDONLY));
  tried("host-files",
        opens("/root", O_RDONLY) || opens("/home", O_RDONLY) || opens("/sys/kernel", O_RDONLY));
  tried("host-write", opens("/usr/ponder_probe", O_WRONLY | O_CREAT) ||
                          opens("/ponder_probe", O_WRONLY | O_CREAT));
  tried("init-environ", opens("/proc/1/environ", O_RDONLY));
  tried("init-memory", opens("/proc/1/mem", O_RDWR));
  tried("proc-sys", opens("/proc/sys/kernel/hostname", O_WRONLY));
  tried("userns", unshare(CLONE_NEWUSER) == 0);
  tried("mount", mount("tmpfs", "/tmp", "tmpfs", 0, nullptr) == 0);
  tried("ptrace", ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0);
  tried("io-uring", syscall(425 /* io_uring_setup */, 1, nullptr) >= 0 || errno == EFAULT);
  tried("setuid", setuid(0) == 0);
  tried("kill-init", kill(1, SIGKILL) == 0 && getppid() != 1);
  tried("foreign-pid", kill(3, 0) == 0);
  tried("device", mknod("/tmp/probe", S_IFBLK | 0600, 0x801) == 0);
  tried("no-proc", !opens("/proc/self/status", O_RDONLY));
  return worked;
}

}  // namespace ponder::sandbox
