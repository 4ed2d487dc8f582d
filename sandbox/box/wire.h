// Messages between ponder and its boxes: length-prefixed fields over Unix SOCK_SEQPACKET sockets,
// with descriptors beside them. Used on both sides of the wall, so it throws nothing and allocates
// little. Knows nothing of what a message means.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace ponder::sandbox {

// The longest message; longer things (code, input) travel as descriptors of memory files.
inline constexpr size_t kMessageBytesMax = 128 * 1024;

class WireWriter {
 public:
  // Appends to `storage`, so that a caller who reserved enough needs no memory.
  explicit WireWriter(std::string storage = {}) : bytes_(std::move(storage)) {}
  void number(uint64_t value);
  void text(std::string_view value);
  void texts(const std::vector<std::string>& values);
  const std::string& bytes() const { return bytes_; }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// Reads fields in the order they were written. A short or malformed message makes ok() false and
// all further fields empty.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : rest_(bytes) {}
  uint64_t number();
  std::string text();
  std::vector<std::string> texts();
  bool ok() const { return ok_; }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

// Sends one message with `fds` beside it. False with errno set when the other side is gone or the
// message too long.
bool send_message(int socket, std::string_view bytes, const std::vector<int>& fds = {});

// Receives one message; descriptors arrive close-on-exec and belong to the caller. Bytes received,
// 0 at the end of the stream, -1 with errno set (EAGAIN on a non-blocking socket). `flags` as for
// recvmsg(2).
ssize_t receive_message(int socket, std::string& bytes, std::vector<int>& fds, int flags = 0);

}  // namespace ponder::sandbox
