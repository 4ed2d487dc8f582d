// Weights on disk: the safetensors format (github.com/huggingface/safetensors, README "Format") and
// Hugging Face weight folders, read by mmap and written byte-compatibly with the Python package.
// Knows names, shapes and dtypes; knows nothing of architectures or devices. Every malformed file
// is a core::UserError that names the file and what is wrong in it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ponder::core {
class MappedFile;
}

namespace ponder::policy {

// What a file's header says of one tensor. The header has been checked when this can be seen: begin
// and end lie inside the file and their distance is the size of `shape` in `dtype`.
struct TensorInfo {
  at::ScalarType dtype = at::ScalarType::Float;
  std::vector<int64_t> shape;
  size_t begin = 0;  // bytes from the start of the data section
  size_t end = 0;
};

// One .safetensors file. Reading the header touches no tensor data; methods are const and may be
// called by many threads.
class SafetensorsFile {
 public:
  // Throws UserError: missing or unreadable file; header not within the file or over 100 MB; broken
  // JSON; unknown dtype; duplicate names; offsets outside the data, overlapping, with holes or not
  // fitting shape and dtype; truncated data.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const;
  const std::vector<std::string>& names() const { return names_; }  // in the order of the data
  const std::map<std::string, std::string>& metadata() const {
    return metadata_;
  }  // "__metadata__"
  bool contains(const std::string& name) const { return tensors_.contains(name); }

  // Throws UserError with the nearest name when there is no such tensor.
  const TensorInfo& info(const std::string& name) const;

  // The tensor as a view of the mapped file, on the CPU; the map lives as long as any such view.
  // READ ONLY: the pages are not writable, so clone() before any in-place operation. Data not
  // aligned for its dtype is copied instead.
  at::Tensor tensor(const std::string& name) const;

  // Gives back the memory that the file's pages with this tensor take; views of it stay valid and
  // read the file again.
  void forget(const std::string& name) const;

 private:
  std::shared_ptr<core::MappedFile> file_;
  size_t data_begin_ = 0;  // file offset of the data section
  std::vector<std::string> names_;
  std::unordered_map<std::string, TensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;
};

// A folder with `model.safetensors`, or with `model.safetensors.index.json` and its shards. A shard
// is opened at the first look at one of its tensors. Methods are const and may be called by many
// threads.
class WeightFolder {
 public:
  // Throws UserError: neither file is there, a broken index, an index that names a missing shard.
  explicit WeightFolder(const std::filesystem::path& folder);

  const std::filesystem::path& path() const { return folder_; }
  const std::vector<std::string>& names() const { return names_; }  // sorted
  bool contains(const std::string& name) const { return shard_of_.contains(name); }

  // As in SafetensorsFile; also UserError when the shard lacks what the index promises.
  const TensorInfo& info(const std::string& name) const;
  at::Tensor tensor(const std::string& name) const;

  // The tensor in `dtype` as a model takes it. F8_E4M3 matrices are multiplied with their 128 x 128
  // block scales, the float tensor NAME_scale_inv, as DeepSeek-V3 publishes them: one float32
  // product, rounded to `dtype`. UserError where those are missing or of a wrong shape or dtype.
  at::Tensor load(const std::string& name, at::ScalarType dtype) const;

  // The same values into `to`, of the tensor's shape and any dtype, without a copy in between where
  // no block scales are to be multiplied; then the file's pages are given back.
  void load_into(const std::string& name, const at::Tensor& to) const;

  // Rows begin..end - 1 of its first dimension, the same values; no other rows' pages are read.
  at::Tensor load_rows(const std::string& name, int64_t begin, int64_t end,
                       at::ScalarType dtype) const;

  // `name` holds the block scales of another tensor of this folder.
  bool is_block_scale(const std::string& name) const;

 private:
  const SafetensorsFile& file_with(const std::string& name) const;
  at::Tensor block_scales(const std::string& name, int64_t begin, int64_t end) const;
  void read_index(const std::filesystem::path& index);

  std::filesystem::path folder_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, std::string> shard_of_;  // tensor name -> file name
  mutable std::mutex mutex_;
  mutable std::map<std::string, std::unique_ptr<SafetensorsFile>>
      open_;  // file name -> file; guarded by mutex_
};

// A tensor that is made when it is written, so that a whole model need not be in memory. make() may
// throw; what it returns must have this dtype and shape.
struct TensorSource {
  std::string name;
  at::ScalarType dtype = at::ScalarType::Float;
  std::vector<int64_t> shape;
  std::function<at::Tensor()> make;
  int64_t bytes() const;
};

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

// The bytes that Python's `safetensors.torch.save_file(tensors, path, metadata)` writes: tensors
// ordered by dtype (its enumeration, descending), then name. Tensors on other devices are copied to
// the CPU one at a time, non-contiguous ones made contiguous. The file appears under `path`
// complete and synced, or not at all (RunError). More than one metadata entry is written in the
// order of its keys (Python's order is random there). InternalError on a name given twice.
void save_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                      const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

// Writes `tensors` in their order as Hugging Face does: one `model.safetensors` if they fit
// `max_shard_bytes`, else `model-00001-of-0000N.safetensors` ... and, last,
// `model.safetensors.index.json`. Then weight files of an earlier save that do not belong to this
// one are removed.
void save_weight_shards(const std::filesystem::path& folder, const NamedTensors& tensors,
                        int64_t max_shard_bytes);

// The same, one tensor in memory at a time.
void save_weight_shards(const std::filesystem::path& folder,
                        const std::vector<TensorSource>& tensors, int64_t max_shard_bytes);

}  // namespace ponder::policy
