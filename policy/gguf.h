// GGUF files (ggml's docs/gguf.md, versions 2 and 3, little endian), read by mmap: metadata and
// tensors as they lie in the file. Knows types and sizes; knows no architecture, no tokenizer and
// no LibTorch. Every malformed file is a core::UserError that names file and byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "policy/gguf_blocks.h"

namespace ponder::core {
class MappedFile;
}

namespace ponder::policy {

// The numbers are the format's.
enum class GgufValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// Bytes of one number; 0 for texts and lists.
size_t gguf_size_of(GgufValueType type);

// One metadata value as it lies in the file; checked, not decoded.
struct GgufValue {
  GgufValueType type = GgufValueType::kUint8;  // an array's: of its elements
  bool is_array = false;
  uint64_t count = 1;                // of elements
  std::span<const std::byte> bytes;  // strings: each with its length in front
  size_t offset = 0;                 // in the file
};

struct GgufTensor {
  std::string name;
  std::vector<int64_t> shape;  // outermost first, as everywhere in ponder (the file: innermost)
  GgmlType type = GgmlType::kF32;
  std::span<const std::byte> data;
  int64_t numel() const;
};

// What a file holds. Views point into the bytes it was parsed from.
class GgufContent {
 public:
  // Parses the bytes of a whole file; `where` is its name in errors. Allocates in proportion to the
  // bytes that are there, whatever counts the header claims. Throws UserError: no GGUF, version or
  // byte order not supported, truncated, counts or lengths beyond the file, a key or tensor given
  // twice, a value type or tensor type that is not supported, shapes that overflow or do not fill
  // blocks, tensors misaligned, outside the file or overlapping.
  GgufContent(std::span<const std::byte> file, std::string where);

  const std::string& where() const { return where_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }  // in the file's order
  const GgufTensor* find_tensor(std::string_view name) const;          // nullptr: none

  bool has(std::string_view key) const { return values_.contains(key); }

  // The value of `key`, nothing where it is missing. Throws UserError naming key and byte when it
  // is there with another type (any integer type counts as an integer), text that is no UTF-8, or
  // an integer beyond int64.
  std::optional<int64_t> integer(std::string_view key) const;
  std::optional<double> number(std::string_view key) const;
  std::optional<bool> boolean(std::string_view key) const;
  std::optional<std::string_view> text(std::string_view key) const;
  std::optional<std::vector<std::string_view>> texts(std::string_view key) const;
  std::optional<std::vector<int64_t>> integers(std::string_view key) const;
  std::optional<std::vector<float>> numbers(std::string_view key) const;

  // The same, and a UserError where the key is missing.
  int64_t require_integer(std::string_view key) const;
  std::string_view require_text(std::string_view key) const;

 private:
  const GgufValue* find(std::string_view key, bool is_array) const;
  [[noreturn]] void wrong_type(std::string_view key, const GgufValue& value,
                               const char* expected) const;

  std::string where_;
  std::map<std::string, GgufValue, std::less<>> values_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string, size_t, std::less<>> tensor_index_;
};

// The same over a file on disk; the map lives as long as this object.
class GgufFile {
 public:
  // Throws UserError: missing or unreadable file, and as GgufContent does.
  explicit GgufFile(const std::filesystem::path& path);
  const GgufContent& content() const { return *content_; }
  std::shared_ptr<core::MappedFile> map() const { return map_; }

 private:
  std::shared_ptr<core::MappedFile> map_;
  std::shared_ptr<GgufContent> content_;
};

}  // namespace ponder::policy
