#include "rewards/plugins/child.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"

namespace ponder::rewards {
namespace {

constexpr size_t kTalkKept = 4096;
constexpr size_t kPiece = 65536;

struct Pipe {
  int read = -1, write = -1;
};

Pipe make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    core::throw_run("no pipe for a reward's worker: {}", std::strerror(errno));
  return {ends[0], ends[1]};
}

void close_fd(int& fd) {
  if (fd >= 0) ::close(fd);
  fd = -1;
}

int image_file(std::string_view image) {
  const int fd = ::memfd_create("ponder-reward-host", 0);
  for (size_t at = 0; fd >= 0 && at < image.size();) {
    const ssize_t n = ::write(fd, image.data() + at, image.size() - at);
    if (n <= 0) core::throw_run("cannot hold the plugin host in memory: {}", std::strerror(errno));
    at += static_cast<size_t>(n);
  }
  if (fd < 0) core::throw_run("cannot hold the plugin host in memory: {}", std::strerror(errno));
  return fd;
}

// In the child. Async-signal-safe calls only: other threads of ours may have held any lock at the
// fork.
[[noreturn]] void become(char* const* argv, const char* program, const Pipe& in, const Pipe& out,
                         const Pipe& err, uint64_t memory_bytes, pid_t parent) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(126);
  if (memory_bytes > 0) {
    const rlimit limit{memory_bytes, memory_bytes};
    ::setrlimit(RLIMIT_AS, &limit);
  }
  const rlimit no_core{0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::dup2(in.read, 0);
  ::dup2(out.write, 1);
  ::dup2(err.write, 2);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  ::execvp(program, argv);
  const char* why = std::strerror(errno);
  [[maybe_unused]] ssize_t n = ::write(2, why, std::strlen(why));
  ::_exit(127);
}

}  // namespace

Child::Child(const WorkerCommand& command) {
  sigset_t broken_pipe;
  ::sigemptyset(&broken_pipe);
  ::sigaddset(&broken_pipe, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &broken_pipe, nullptr);  // a dead worker is an outcome
  const Pipe in = make_pipe(), out = make_pipe(), err = make_pipe();
  int image = command.image.empty() ? -1 : image_file(command.image);
  const std::string program =
      image < 0 ? command.argv.at(0) : fmt::format("/proc/self/fd/{}", image);
  std::vector<char*> argv;
  for (const std::string& word : command.argv) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) become(argv.data(), program.c_str(), in, out, err, command.memory_bytes, parent);
  const int error = errno;
  for (int fd : {in.read, out.write, err.write, image}) close_fd(fd);
  in_ = in.write, out_ = out.read, err_ = err.read;
  if (pid_ < 0) {
    close_pipes();
    core::throw_run("cannot start a reward's worker {}: {}", command.argv[0], std::strerror(error));
  }
  ::setpgid(pid_, pid_);  // in both processes: whichever comes first
  for (const int fd : {in_, out_, err_}) ::fcntl(fd, F_SETFL, O_NONBLOCK);
}

Child::~Child() {
  ::kill(-pid_, SIGKILL);
  close_pipes();
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void Child::close_pipes() {
  close_fd(in_);
  close_fd(out_);
  close_fd(err_);
}

ssize_t Child::read_talk() {
  std::array<char, kPiece> piece;
  const ssize_t n = ::read(err_, piece.data(), piece.size());
  if (n <= 0) return n;
  talk_bytes_ += static_cast<uint64_t>(n);
  talk_.append(piece.data(), static_cast<size_t>(n));
  if (talk_.size() > kTalkKept) talk_.erase(0, talk_.size() - kTalkKept);
  return n;
}

Child::Exchange Child::exchange(std::string_view request, size_t num_lines,
                                std::chrono::duration<double> deadline, size_t reply_bytes_max) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(deadline);
  Exchange result;
  size_t received = 0;
  bool out_open = true;
  std::array<char, kPiece> piece;
  while (result.lines.size() < num_lines || !request.empty()) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
    if (left <= 0) return result.end = End::kTimeout, result;
    std::array<pollfd, 3> fds = {
        {{out_, POLLIN, 0}, {err_, POLLIN, 0}, {request.empty() ? -1 : in_, POLLOUT, 0}}};
    if (::poll(fds.data(), fds.size(), static_cast<int>(std::min<int64_t>(left, 60'000))) < 0 &&
        errno != EINTR) {
      core::throw_run("cannot wait for a reward's worker: {}", std::strerror(errno));
    }
    if (fds[1].revents != 0 && read_talk() == 0) close_fd(err_);
    if (fds[2].revents != 0) {
      const ssize_t n = ::write(in_, request.data(), request.size());
      if (n > 0) request.remove_prefix(static_cast<size_t>(n));
      if (n < 0 && errno != EAGAIN && errno != EINTR)
        request = {};  // it no longer reads; its output may still come
    }
    if (fds[0].revents != 0) {
      const ssize_t n = ::read(out_, piece.data(), piece.size());
      out_open = n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
      if (n > 0) pending_.append(piece.data(), static_cast<size_t>(n));
      received += n > 0 ? static_cast<size_t>(n) : 0;
    }
    size_t begin = 0;
    for (size_t nl = pending_.find('\n');
         nl != std::string::npos && result.lines.size() < num_lines;
         nl = pending_.find('\n', begin)) {
      result.lines.push_back(pending_.substr(begin, nl - begin));
      begin = nl + 1;
    }
    pending_.erase(0, begin);
    if (received > reply_bytes_max) return result.end = End::kFlood, result;
    if (!out_open && result.lines.size() < num_lines) return result.end = End::kClosed, result;
  }
  if (!pending_.empty()) result.end = End::kFlood;
  return result;
}

bool Child::quiet() {
  pollfd out{out_, POLLIN, 0};
  return pending_.empty() && ::poll(&out, 1, 0) == 0;
}

std::string Child::ending() {
  siginfo_t how{};
  for (int i = 0; i < 20 && how.si_pid == 0;
       ++i) {  // not reaped: the destructor still has a group to kill
    ::waitid(P_PID, static_cast<id_t>(pid_), &how, WEXITED | WNOHANG | WNOWAIT);
    if (how.si_pid == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  if (how.si_pid == 0) return {};
  while (err_ >= 0 && read_talk() > 0) {
  }
  if (how.si_code == CLD_EXITED) return fmt::format("exit status {}", how.si_status);
  return fmt::format("signal {} ({})", how.si_status, ::strsignal(how.si_status));
}

}  // namespace ponder::rewards
