#include "data/parquet.h"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <vector>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"

extern char** environ;

namespace ponder::data {
namespace {

namespace fs = std::filesystem;

fs::path program() {
  if (const char* set = std::getenv("PONDER_PARQUET")) return set;
  return fs::read_symlink("/proc/self/exe").parent_path() / "ponder-parquet";
}

std::string read_all(int fd) {
  std::string text;
  std::array<char, 1 << 16> buffer;
  for (;;) {
    const ssize_t count = ::read(fd, buffer.data(), buffer.size());
    if (count > 0) text.append(buffer.data(), static_cast<size_t>(count));
    if (count == 0 || (count < 0 && errno != EINTR)) return text;
  }
}

struct Output {
  std::string out, err;
  int status = 0;
};

// Runs `words`. What it says on stderr fits a pipe: it is one line.
Output run(std::vector<std::string> words) {
  int out[2], err[2];
  if (::pipe2(out, O_CLOEXEC) != 0 || ::pipe2(err, O_CLOEXEC) != 0)
    core::throw_run("cannot make a pipe for {}", words[0]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  posix_spawn_file_actions_adddup2(&actions, err[1], 2);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(out[1]);
  ::close(err[1]);
  Output result;
  if (error == 0) {
    result.out = read_all(out[0]);
    result.err = read_all(err[0]);
    ::waitpid(pid, &result.status, 0);
  }
  ::close(out[0]);
  ::close(err[0]);
  if (error != 0) core::throw_run("cannot start {}: error {}", words[0], error);
  return result;
}

}  // namespace

std::string read_parquet_as_jsonl(const fs::path& path) {
  if (!fs::exists(path)) core::throw_user("cannot read dataset {}: no such file", path.string());
  const fs::path reader = program();
  if (::access(reader.c_str(), X_OK) != 0) {
    core::throw_user(
        "{}: Parquet is read by ponder-parquet, which is not at {}: run tools/parquet once "
        "(it downloads Arrow, 50 MB, and needs a C++ compiler), or convert the file to .jsonl",
        path.string(), reader.string());
  }
  Output output = run({reader.string(), path.string()});
  if (output.status != 0) {
    while (output.err.ends_with('\n')) output.err.pop_back();
    core::throw_user("{}: {}", path.string(), output.err.empty() ? "cannot be read" : output.err);
  }
  return std::move(output.out);
}

}  // namespace ponder::data
