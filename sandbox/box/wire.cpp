#include "sandbox/box/wire.h"

#include <cerrno>
#include <cstring>

#include <sys/socket.h>
#include <unistd.h>

namespace ponder::sandbox {

namespace {
constexpr size_t kFdsMax = 64;
}

void WireWriter::number(uint64_t value) {
  char raw[sizeof value];
  std::memcpy(raw, &value, sizeof value);
  bytes_.append(raw, sizeof raw);
}

void WireWriter::text(std::string_view value) {
  number(value.size());
  bytes_.append(value);
}

void WireWriter::texts(const std::vector<std::string>& values) {
  number(values.size());
  for (const auto& value : values) text(value);
}

uint64_t WireReader::number() {
  uint64_t value = 0;
  if (rest_.size() < sizeof value) ok_ = false;
  if (!ok_) return 0;
  std::memcpy(&value, rest_.data(), sizeof value);
  rest_.remove_prefix(sizeof value);
  return value;
}

std::string WireReader::text() {
  const uint64_t size = number();
  if (size > rest_.size()) ok_ = false;
  if (!ok_) return {};
  std::string value(rest_.substr(0, size));
  rest_.remove_prefix(size);
  return value;
}

std::vector<std::string> WireReader::texts() {
  std::vector<std::string> values;
  const uint64_t count = number();
  for (uint64_t i = 0; i < count && ok_; ++i) values.push_back(text());
  if (!ok_) values.clear();
  return values;
}

bool send_message(int socket, std::string_view bytes, const std::vector<int>& fds) {
  if (fds.size() > kFdsMax || bytes.size() > kMessageBytesMax) {
    errno = EMSGSIZE;
    return false;
  }
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kFdsMax * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
  }
  ssize_t sent;
  do sent = sendmsg(socket, &message, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(bytes.size());
}

ssize_t receive_message(int socket, std::string& bytes, std::vector<int>& fds, int flags) {
  // Not in `bytes` itself: a string is cleared as it grows, and that costs more than the message.
  thread_local char buffer[kMessageBytesMax];
  fds.clear();
  iovec part{buffer, sizeof buffer};
  alignas(cmsghdr) char control[CMSG_SPACE(kFdsMax * sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t received;
  do received = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
  while (received < 0 && errno == EINTR);
  const int error = errno;
  bytes.assign(buffer, received > 0 ? static_cast<size_t>(received) : 0);
  if (received < 0) {
    errno = error;
    return received;
  }
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    const size_t before = fds.size();
    fds.resize(before + count);
    std::memcpy(fds.data() + before, CMSG_DATA(header), count * sizeof(int));
  }
  return received;
}

}  // namespace ponder::sandbox
