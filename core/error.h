// How ponder fails. An outcome (a wrong answer, a time-out of a sandboxed program) is a value in a
// result and never an exception. What remains is thrown and caught once, in cli/main.cpp, which
// turns the kind into the exit status.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace ponder::core {

// The user is wrong: a recipe, a flag, a file. Exit status 2. The message is one line (or one line
// a problem) that names the place (file, line, key), what was found, what is expected, and the
// remedy.
class UserError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The machine fails: a full disk, a dead worker. Exit status 1. The message names what was
// attempted and the remedy.
class RunError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Our code is wrong. Exit status 1, with a request to report it.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

template <typename... Args>
[[noreturn]] void throw_user(fmt::format_string<Args...> format, Args&&... args) {
  throw UserError(fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
[[noreturn]] void throw_run(fmt::format_string<Args...> format, Args&&... args) {
  throw RunError(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace ponder::core

// An invariant of ours, checked in release builds too: PONDER_CHECK(a == b, "[pack] expected {}
// tokens, got {}", a, b).
#define PONDER_CHECK(condition, ...)                                                 \
  do {                                                                               \
    if (!(condition)) throw ::ponder::core::InternalError(fmt::format(__VA_ARGS__)); \
  } while (false)
