#include "distributed/spawn.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <thread>

#include <arpa/inet.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "core/stop.h"
#include "core/timer.h"

namespace ponder::distributed {
namespace {

// A port that was free a moment ago.
uint16_t free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  const bool ok = fd >= 0 && ::bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0 &&
                  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (!ok) core::throw_run("no port on the loopback for the workers: {}", std::strerror(error));
  return ntohs(address.sin_port);
}

std::vector<std::string> environment_of(int rank, int workers, uint16_t port) {
  std::vector<std::string> out;
  for (char** entry = environ; *entry != nullptr; ++entry) out.emplace_back(*entry);
  // Workers share the cores, unless the user has said how.
  if (std::getenv("OMP_NUM_THREADS") == nullptr) {
    cpu_set_t given;
    const int cores =
        ::sched_getaffinity(0, sizeof given, &given) == 0 ? CPU_COUNT(&given) : workers;
    out.push_back(fmt::format("OMP_NUM_THREADS={}", std::max(1, cores / workers)));
  }
  out.push_back(fmt::format("RANK={}", rank));
  out.push_back(fmt::format("LOCAL_RANK={}", rank));
  out.push_back(fmt::format("WORLD_SIZE={}", workers));
  out.push_back(fmt::format("MASTER_PORT={}", port));
  out.emplace_back("PONDER_LAUNCHER=--workers");  // for messages
  out.push_back("MASTER_ADDR=127.0.0.1");
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

void block_stop_signals() {
  sigset_t stops;
  sigemptyset(&stops);
  sigaddset(&stops, SIGINT);
  sigaddset(&stops, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &stops, nullptr);
}

pid_t start(std::vector<std::string> words, std::vector<std::string> environment,
            bool block_stops) {
  const std::vector<char*> argv = pointers(words), envp = pointers(environment);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) core::throw_run("could not start a worker: {}", std::strerror(errno));
  if (pid > 0) return pid;
  ::setpgid(0, 0);  // Ctrl-C reaches the workers through the parent alone, once
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  if (block_stops) block_stop_signals();
  ::execve("/proc/self/exe", argv.data(), envp.data());
  ::_exit(127);
}

// The letter of /proc/PID/stat: T is a process that a signal has stopped.
char state_of(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string text;
  std::getline(file, text);
  const size_t end = text.rfind(") ");
  return end == std::string::npos || end + 2 >= text.size() ? '?' : text[end + 2];
}

// The workers that still run, and how the first that failed ended.
class Watch {
 public:
  // pids[r] is rank r.
  Watch(std::vector<pid_t> pids, double grace_s)
      : ranks_(pids), pids_(std::move(pids)), grace_s_(grace_s) {}

  int run() {
    while (!pids_.empty()) {
      collect();
      hand_on_stop();
      kill_late();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return status_;
  }

 private:
  void collect() {
    std::erase_if(pids_, [this](pid_t pid) {
      int status = 0;
      if (::waitpid(pid, &status, WNOHANG) != pid) return false;
      if (WIFSIGNALED(status)) say_killed(pid, WTERMSIG(status));
      const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
      if (code == 0 || status_ != 0) return true;
      status_ = code;
      // After a stop that was handed on the others are about to end by themselves.
      const bool stopped = handed_on_ && code == 128 + core::stop_signal();
      if (!stopping_ && !stopped) end_others();
      return true;
    });
  }

  void say_killed(pid_t pid, int signal) const {
    const auto rank = std::find(ranks_.begin(), ranks_.end(), pid) - ranks_.begin();
    const auto ours = killed_.find(pid);
    fmt::print(stderr, "ponder: rank {} of {} (process {}) {}\n", rank, ranks_.size(), pid,
               ours != killed_.end()
                   ? ours->second
                   : fmt::format("was ended by signal {} ({})", signal, ::strsignal(signal)));
  }

  // Also called while pids_ still holds the one that has ended: a signal to it is lost.
  void end_others() {
    for (const pid_t pid : pids_) ::kill(pid, SIGTERM);
    stopping_ = true;
    since_stop_ = core::Stopwatch();
  }

  void hand_on_stop() {
    if (!core::stop_requested() || handed_on_) return;
    handed_on_ = true;
    for (const pid_t pid : pids_) ::kill(pid, core::stop_signal());
  }

  // One that is stopped would not end within any grace.
  void kill_late() {
    if (!stopping_) return;
    const bool late = since_stop_.seconds() >= grace_s_;
    for (const pid_t pid : pids_) {
      const bool paused = state_of(pid) == 'T';
      if ((!late && !paused) || killed_.contains(pid)) continue;
      ::kill(pid, SIGKILL);
      killed_[pid] = paused ? "was paused, and was killed because another one has failed"
                            : fmt::format(
                                  "did not end within {:g} s after another one had failed, "
                                  "and was killed",
                                  grace_s_);
    }
  }

  std::vector<pid_t> ranks_;
  std::vector<pid_t> pids_;              // those that still run
  std::map<pid_t, std::string> killed_;  // by this process, and what is said of them
  double grace_s_;
  int status_ = 0;
  bool stopping_ = false, handed_on_ = false;
  core::Stopwatch since_stop_;
};

}  // namespace

int run_workers(const std::vector<std::string>& words, int workers, const SpawnOptions& options) {
  core::catch_stop_signals();
  const uint16_t port = free_port();
  std::vector<pid_t> pids;
  for (int rank = 0; rank < workers; ++rank)
    pids.push_back(start(words, environment_of(rank, workers, port), options.block_stops));
  return Watch(std::move(pids), options.grace_s).run();
}

}  // namespace ponder::distributed
