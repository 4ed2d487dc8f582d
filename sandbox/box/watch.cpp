#include "sandbox/box/watch.h"

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <unistd.h>

namespace ponder::sandbox {

namespace {

std::string read_small(const std::string& path) {
  char buffer[4096];
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return "";
  const ssize_t got = read(fd, buffer, sizeof buffer - 1);
  close(fd);
  return {buffer, got > 0 ? static_cast<size_t>(got) : 0};
}

uint64_t time_ns(const timeval& time) {
  return static_cast<uint64_t>(time.tv_sec) * 1000000000ULL +
         static_cast<uint64_t>(time.tv_usec) * 1000ULL;
}

// Fields 14 to 17 of /proc/PID/stat: user and system time, its own and that of the children it
// waited for, in ticks.
uint64_t ticks_of(const std::string& process) {
  const std::string stat = read_small("/proc/" + process + "/stat");
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return 0;
  const char* at = stat.c_str() + name_end + 1;
  for (int field = 3; field <= 13 && at != nullptr; ++field) at = std::strchr(at + 1, ' ');
  if (at == nullptr) return 0;
  uint64_t sum = 0;
  char* end = const_cast<char*>(at);
  for (int i = 0; i < 4; ++i) sum += std::strtoull(end, &end, 10);
  return sum;
}

uint64_t field_kb(const std::string& text, const char* name) {
  const size_t at = text.find(name);
  return at == std::string::npos
             ? 0
             : std::strtoull(text.c_str() + at + std::strlen(name), nullptr, 10);
}

uint64_t tmpfs_bytes(const char* path) {
  struct statfs about {};
  if (statfs(path, &about) != 0) return 0;
  return static_cast<uint64_t>(about.f_blocks - about.f_bfree) *
         static_cast<uint64_t>(about.f_bsize);
}

}  // namespace

uint64_t cpu_ns_of_reaped() {
  rusage reaped{};
  getrusage(RUSAGE_CHILDREN, &reaped);
  return time_ns(reaped.ru_utime) + time_ns(reaped.ru_stime);
}

uint64_t peak_bytes_of_reaped() {
  rusage reaped{};
  getrusage(RUSAGE_CHILDREN, &reaped);
  return static_cast<uint64_t>(reaped.ru_maxrss) * 1024;
}

Usage usage_of_all() {
  Usage usage;
  usage.cpu_ns = cpu_ns_of_reaped();
  usage.memory_bytes = tmpfs_bytes("/tmp") + tmpfs_bytes("/dev/shm");
  const uint64_t tick_ns = 1000000000ULL / static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
  DIR* processes = opendir("/proc");
  if (processes == nullptr) return usage;
  while (const dirent* entry = readdir(processes)) {
    if (entry->d_name[0] < '0' || entry->d_name[0] > '9' || std::strcmp(entry->d_name, "1") == 0)
      continue;
    const std::string process = entry->d_name;
    usage.cpu_ns += ticks_of(process) * tick_ns;
    const std::string memory = read_small("/proc/" + process + "/smaps_rollup");
    usage.memory_bytes += (field_kb(memory, "Pss_Anon:") + field_kb(memory, "Pss_Shmem:")) * 1024;
  }
  closedir(processes);
  return usage;
}

void block_child_signal() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_BLOCK, &set, nullptr);
}

void wait_for_child(int timeout_ms) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  const timespec timeout{timeout_ms / 1000, (timeout_ms % 1000) * 1000000L};
  sigtimedwait(&set, nullptr, &timeout);
}

}  // namespace ponder::sandbox
