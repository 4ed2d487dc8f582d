#include "core/file.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"

namespace ponder::core {
namespace {

std::string reason() {
  return std::strerror(errno);
}

// A full disk is the user's to mend, with nothing lost; any other failed write is the machine's.
[[noreturn]] void throw_unwritable(const std::filesystem::path& path) {
  if (errno == ENOSPC || errno == EDQUOT) {
    throw_user("cannot write {}: {}: free some space and give the same command again to go on",
               path.string(), reason());
  }
  throw_run("cannot write {}: {}", path.string(), reason());
}

int open_to_read(const std::filesystem::path& path, std::string_view what) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw_user("cannot read the {} {}: {}", what, path.string(), reason());
  struct stat info {};
  if (::fstat(fd, &info) == 0 && S_ISDIR(info.st_mode)) {
    ::close(fd);
    throw_user("cannot read the {} {}: it is a folder, expected a file", what, path.string());
  }
  return fd;
}

void write_all(int fd, const char* data, size_t size, const std::filesystem::path& path) {
  while (size > 0) {
    const ssize_t written = ::write(fd, data, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw_unwritable(path);
    data += written;
    size -= static_cast<size_t>(written);
  }
}

}  // namespace

std::string read_file(const std::filesystem::path& path, std::string_view what) {
  const int fd = open_to_read(path, what);
  std::string content;
  char buffer[1 << 16];
  for (;;) {
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      const std::string why = reason();
      ::close(fd);
      throw_user("cannot read the {} {}: {}", what, path.string(), why);
    }
    if (got == 0) break;
    content.append(buffer, static_cast<size_t>(got));
  }
  ::close(fd);
  return content;
}

FileWriter::FileWriter(const std::filesystem::path& path)
    : path_(path), fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
  if (fd_ < 0) throw_unwritable(path_);
}

FileWriter::~FileWriter() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(path_.c_str());
}

void FileWriter::write(const void* data, size_t size) {
  write_all(fd_, static_cast<const char*>(data), size, path_);
}

void FileWriter::close() {
  if (::fsync(fd_) != 0) throw_unwritable(path_);
  const int fd = std::exchange(fd_, -1);
  if (::close(fd) != 0) throw_unwritable(path_);
}

void sync_directory(const std::filesystem::path& directory) {
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) throw_run("cannot open the folder {}: {}", directory.string(), reason());
  const int failed = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  // Some file systems have no fsync for folders and say EINVAL.
  if (failed != 0 && error != EINVAL)
    throw_run("cannot write the folder {}: {}", directory.string(), std::strerror(error));
}

void write_file_atomic(const std::filesystem::path& path, std::string_view content) {
  // A device, a pipe or a link is written through, not replaced.
  std::error_code unknown;
  const auto status = std::filesystem::symlink_status(path, unknown);
  if (std::filesystem::is_symlink(status)) {
    const auto target = std::filesystem::weakly_canonical(path);
    if (target == path) throw_user("cannot write {}: it is a link to itself", path.string());
    return write_file_atomic(target, content);
  }
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    return FileAppender(path).append(content);
  }
  const std::filesystem::path temporary = path.string() + ".part";
  {
    FileWriter writer(temporary);
    writer.write(content);
    writer.close();
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    const std::string why = reason();
    ::unlink(temporary.c_str());
    throw_run("cannot rename {} to {}: {}", temporary.string(), path.string(), why);
  }
  sync_directory(path.has_parent_path() ? path.parent_path() : std::filesystem::path("."));
}

FileAppender::FileAppender(const std::filesystem::path& path)
    : path_(path), fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) {
  if (fd_ < 0) throw_unwritable(path_);
}

FileAppender::~FileAppender() {
  ::close(fd_);
}

void FileAppender::sync() {
  if (::fsync(fd_) != 0) throw_unwritable(path_);
}

void FileAppender::append(std::string_view text) {
  write_all(fd_, text.data(), text.size(), path_);
}

MappedFile::MappedFile(const std::filesystem::path& path, std::string_view what) : path_(path) {
  const int fd = open_to_read(path, what);
  struct stat info {};
  if (::fstat(fd, &info) != 0) {
    const std::string why = reason();
    ::close(fd);
    throw_user("cannot read the {} {}: {}", what, path.string(), why);
  }
  size_ = static_cast<size_t>(info.st_size);
  if (size_ > 0) {
    void* map = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) {
      const std::string why = reason();
      ::close(fd);
      throw_user("cannot map the {} {}: {}", what, path.string(), why);
    }
    data_ = static_cast<const std::byte*>(map);
  }
  ::close(fd);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

}  // namespace ponder::core
