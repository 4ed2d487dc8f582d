#include "recipes/worker_log.h"

#include <cerrno>
#include <cstring>
#include <string>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/error.h"

namespace ponder::recipes {
namespace {

// Both streams into `fd`, which is closed.
void speak_into(int fd) {
  std::fflush(stdout);
  std::fflush(stderr);
  ::dup2(fd, STDOUT_FILENO);
  ::dup2(fd, STDERR_FILENO);
  ::close(fd);
}

std::string said_so_far() {
  std::string text;
  char buffer[4096];
  off_t offset = 0;
  for (ssize_t n = 0; (n = ::pread(STDERR_FILENO, buffer, sizeof buffer, offset)) > 0; offset += n)
    text.append(buffer, static_cast<size_t>(n));
  return text;
}

}  // namespace

WorkerLog::WorkerLog(int rank) : rank_(rank) {
  if (rank == 0) return;
  console_ = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
  const int fd = ::memfd_create("worker-log", 0);
  if (fd < 0) core::throw_run("no memory for a worker's log: {}", std::strerror(errno));
  speak_into(fd);
}

void WorkerLog::move_to(const std::filesystem::path& run_dir) {
  if (rank_ == 0) return;
  std::fflush(stdout);
  const std::string text = said_so_far();
  const std::filesystem::path path = run_dir / "logs" / fmt::format("rank-{}.log", rank_);
  std::error_code ignored;  // opening the file says what is wrong
  std::filesystem::create_directories(path.parent_path(), ignored);
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
  if (fd < 0) core::throw_user("cannot write {}: {}", path.string(), std::strerror(errno));
  speak_into(fd);
  std::fputs(text.c_str(), stderr);
  path_ = path;
}

void WorkerLog::tell_console(const std::string& line) const {
  if (console_ < 0) return;
  const std::string text = fmt::format(
      "ponder: {}{}\n", line, path_.empty() ? "" : fmt::format(" (its log: {})", path_.string()));
  // One write: lines of several workers do not mix. A console that is gone is nobody's fault.
  [[maybe_unused]] const ssize_t written = ::write(console_, text.data(), text.size());
}

}  // namespace ponder::recipes
