#include "sandbox/memory_file.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"

namespace ponder::sandbox {

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void Fd::reset() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

Fd empty_file(const char* name) {
  Fd file(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) core::throw_run("[sandbox] cannot make a memory file: {}", std::strerror(errno));
  return file;
}

bool seal(const Fd& file) {
  return fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) ==
         0;
}

Fd sealed_file(const char* name, std::string_view content) {
  Fd file = empty_file(name);
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t written =
        pwrite(file.get(), content.data() + done, content.size() - done, static_cast<off_t>(done));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0)
      core::throw_run("[sandbox] cannot fill a memory file: {}", std::strerror(errno));
    done += static_cast<size_t>(written);
  }
  if (!seal(file)) core::throw_run("[sandbox] cannot seal a memory file: {}", std::strerror(errno));
  return file;
}

std::string content_of(const Fd& file) {
  struct stat about {};
  if (fstat(file.get(), &about) != 0) return "";
  std::string content(static_cast<size_t>(about.st_size), '\0');
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t got =
        pread(file.get(), content.data() + done, content.size() - done, static_cast<off_t>(done));
    if (got <= 0) break;
    done += static_cast<size_t>(got);
  }
  content.resize(done);
  return content;
}

Channel make_blocking_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0)
    core::throw_run("[sandbox] cannot make a pipe: {}", std::strerror(errno));
  return {Fd(ends[0]), Fd(ends[1])};
}

Channel make_pipe() {
  Channel channel = make_blocking_pipe();
  fcntl(channel.read.get(), F_SETFL, O_NONBLOCK);
  return channel;
}

SocketPair make_socket_pair() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    core::throw_run("[sandbox] cannot make a socket pair: {}", std::strerror(errno));
  return {Fd(ends[0]), Fd(ends[1])};
}

}  // namespace ponder::sandbox
