// Descriptors that close themselves, and files that exist in memory only: how code, input and
// binaries enter a box.
#pragma once

#include <string>
#include <string_view>
#include <utility>

namespace ponder::sandbox {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept;
  ~Fd() { reset(); }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset();

 private:
  int fd_ = -1;
};

// A memory file with `content`, offset 0. Sealed: nobody can write to it or resize it. Throws
// RunError.
Fd sealed_file(const char* name, std::string_view content);

// An empty memory file to be filled by another process. Throws RunError.
Fd empty_file(const char* name);

// Forbids all further change of a memory file. False when someone still holds it mapped for
// writing.
bool seal(const Fd& file);

// The whole content.
std::string content_of(const Fd& file);

struct Channel {
  Fd read, write;
};
// A pipe, close-on-exec; the reading end does not block. Throws RunError.
Channel make_pipe();
// A pipe that blocks at both ends.
Channel make_blocking_pipe();

struct SocketPair {
  Fd ours, theirs;
};
// A SOCK_SEQPACKET pair, close-on-exec. Throws RunError.
SocketPair make_socket_pair();

}  // namespace ponder::sandbox
