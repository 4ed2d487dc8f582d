// Files: whole reads, writes that are never half done, read-only maps. Errors are UserError when a
// file to read is missing or unreadable or the disk is full, RunError when a write fails otherwise;
// both name the path and the reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ponder::core {

// The whole file. `what` names its role in the error ("recipe", "tokenizer").
std::string read_file(const std::filesystem::path& path, std::string_view what);

// Writes `content` to a temporary file beside `path`, syncs it and renames it: `path` holds the old
// or the new content, never a part. On failure the temporary file is gone and `path` untouched.
// Where `path` is a link its target is written; a device or a pipe is written to as it is.
void write_file_atomic(const std::filesystem::path& path, std::string_view content);

// Flushes a directory's entries (after a rename within it) to the disk.
void sync_directory(const std::filesystem::path& directory);

// A file that is written piece by piece and synced on close(); a failed write throws. Without
// close() (an exception on the way) the file is removed.
class FileWriter {
 public:
  explicit FileWriter(const std::filesystem::path& path);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;
  void write(const void* data, size_t size);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void close();

 private:
  std::filesystem::path path_;
  int fd_;
};

// Appends text to a file and flushes it to the kernel at once, so that a killed process loses no
// finished line.
class FileAppender {
 public:
  explicit FileAppender(const std::filesystem::path& path);
  ~FileAppender();
  FileAppender(const FileAppender&) = delete;
  FileAppender& operator=(const FileAppender&) = delete;
  void append(std::string_view text);
  // Flushes what was appended to the disk.
  void sync();

 private:
  std::filesystem::path path_;
  int fd_;
};

// A read-only memory map of a whole file; the bytes live as long as this object. Empty files give
// an empty span.
class MappedFile {
 public:
  MappedFile(const std::filesystem::path& path, std::string_view what);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace ponder::core
