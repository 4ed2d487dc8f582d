// Runs the program under test as a person would: words in, exit status and text out.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/temp_dir.h"

namespace ponder::test {

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream content;
  content << file.rdbuf();
  return content.str();
}

// A child whose stdout and stderr go to files of their own.
class Process {
 public:
  explicit Process(std::vector<std::string> words) {
    pid_ = ::fork();
    if (pid_ != 0) return;
    redirect("out", 1);
    redirect("err", 2);
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  }
  void send(int signal) const { ::kill(pid_, signal); }
  // The exit status; 128 + n where signal n ended it.
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  std::string out() const { return read_text(files_.path() / "out"); }
  std::string err() const { return read_text(files_.path() / "err"); }

 private:
  void redirect(const char* name, int fd) const {
    std::FILE* file = std::fopen((files_.path() / name).c_str(), "w");
    if (file == nullptr || ::dup2(::fileno(file), fd) < 0) ::_exit(126);
  }

  TempDir files_;
  pid_t pid_;
};

struct Outcome {
  int status;
  std::string out, err;
};

inline Outcome run(const std::vector<std::string>& words) {
  Process process(words);
  const int status = process.wait();
  return {status, process.out(), process.err()};
}

// The Python that holds transformers, tokenizers and tensorboard (tools/oracle makes it); "" where
// there is none.
inline std::string oracle_python() {
  const char* path = std::getenv("PONDER_ORACLE_PYTHON");
  return path == nullptr ? "" : path;
}

}  // namespace ponder::test
