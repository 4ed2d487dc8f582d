#include "policy/safetensors.h"

#include <algorithm>

#include <sys/mman.h>
#include <unistd.h>

#include "core/error.h"
#include "core/file.h"
#include "core/spelling.h"
#include "policy/safetensors_header.h"

namespace ponder::policy {

namespace fs = std::filesystem;

void throw_missing_tensor(const fs::path& place, const std::string& name,
                          const std::vector<std::string>& names) {
  const std::string near = core::nearest_name(name, names);
  if (near.empty())
    core::throw_user("{}: there is no tensor '{}' among its {}", place.string(), name,
                     names.size());
  core::throw_user("{}: there is no tensor '{}', did you mean '{}'?", place.string(), name, near);
}

SafetensorsFile::SafetensorsFile(const fs::path& path)
    : file_(std::make_shared<core::MappedFile>(path, "weights file")) {
  SafetensorsHeader header = read_safetensors_header(file_->bytes(), path.string());
  data_begin_ = header.data_begin;
  names_ = std::move(header.names);
  tensors_ = std::move(header.tensors);
  metadata_ = std::move(header.metadata);
}

const fs::path& SafetensorsFile::path() const {
  return file_->path();
}

const TensorInfo& SafetensorsFile::info(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) throw_missing_tensor(path(), name, names_);
  return found->second;
}

at::Tensor SafetensorsFile::tensor(const std::string& name) const {
  const TensorInfo& entry = info(name);
  const auto options = at::TensorOptions().dtype(entry.dtype);
  if (entry.begin == entry.end) return at::empty(entry.shape, options);
  // from_blob wants a mutable pointer; the header forbids writing through it.
  auto* data = const_cast<std::byte*>(file_->bytes().data()) + data_begin_ + entry.begin;
  if (reinterpret_cast<uintptr_t>(data) % c10::elementSize(entry.dtype) != 0) {
    at::Tensor copy = at::empty(entry.shape, options);
    std::copy_n(data, entry.end - entry.begin, static_cast<std::byte*>(copy.data_ptr()));
    return copy;
  }
  return at::from_blob(
      data, entry.shape, [keep = file_](void*) {}, options);
}

void SafetensorsFile::forget(const std::string& name) const {
  const TensorInfo& entry = info(name);
  // Whole pages of this tensor's own.
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto data = reinterpret_cast<uintptr_t>(file_->bytes().data()) + data_begin_;
  const uintptr_t begin = (data + entry.begin + page - 1) / page * page;
  const uintptr_t end = (data + entry.end) / page * page;
  // A hint: where the system does not take it, the pages stay.
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace ponder::policy
