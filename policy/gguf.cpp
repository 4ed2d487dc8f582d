#include "policy/gguf.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include <fmt/ranges.h>

#include "core/error.h"
#include "core/file.h"
#include "policy/utf8.h"

namespace ponder::policy {
namespace {

constexpr uint64_t kNameBytesMax = 65535;  // the format's own limit for keys
constexpr uint32_t kDimensionsMax = 4;     // the format's own
constexpr uint64_t kDefaultAlignment = 32;

template <typename T>
T load(const std::byte* data) {
  T value;
  std::memcpy(&value, data, sizeof value);  // little endian, as every machine we run on
  return value;
}

// Reads a file from front to back; every step is checked against its end.
class Cursor {
 public:
  Cursor(std::span<const std::byte> file, const std::string& where) : file_(file), where_(where) {}

  size_t position() const { return position_; }
  size_t left() const { return file_.size() - position_; }
  const std::string& where() const { return where_; }

  std::span<const std::byte> take(uint64_t bytes, const char* what) {
    if (bytes > left()) {
      core::throw_user(
          "{}: byte {}: {} claims {} bytes, but only {} follow: the file is truncated or damaged; "
          "download it again",
          where_, position_, what, bytes, left());
    }
    const auto part = file_.subspan(position_, bytes);
    position_ += bytes;
    return part;
  }

  template <typename T>
  T read(const char* what) {
    return load<T>(take(sizeof(T), what).data());
  }

  std::string_view text(const char* what) {
    const auto length = read<uint64_t>(what);
    const auto bytes = take(length, what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  std::string name(const char* what) {
    const size_t at = position_;
    const std::string_view name = text(what);
    if (name.empty() || name.size() > kNameBytesMax || !is_utf8(name)) {
      core::throw_user("{}: byte {}: {} is no UTF-8 text of 1 to {} bytes: the file is damaged",
                       where_, at, what, kNameBytesMax);
    }
    return std::string(name);
  }

  GgufValueType type(const char* what) {
    const size_t at = position_;
    const auto number = read<uint32_t>(what);
    if (number > static_cast<uint32_t>(GgufValueType::kFloat64)) {
      core::throw_user("{}: byte {}: {} is {}, expected 0 to 12: the file is damaged", where_, at,
                       what, number);
    }
    return static_cast<GgufValueType>(number);
  }

  // A count of things of which each takes at least `bytes_each` bytes of the file.
  uint64_t count(uint64_t number, uint64_t bytes_each, const char* what, size_t at) const {
    if (number > left() / bytes_each) {
      core::throw_user(
          "{}: byte {}: {} are claimed to be {}, but the {} bytes that follow cannot hold so many: "
          "the file is truncated or damaged; download it again",
          where_, at, what, number, left());
    }
    return number;
  }

 private:
  std::span<const std::byte> file_;
  const std::string& where_;
  size_t position_ = 0;
};

GgufValue read_value(Cursor& cursor, const std::string& key) {
  GgufValue value;
  value.type = cursor.type("a value's type");
  value.offset = cursor.position();
  if (value.type == GgufValueType::kArray) {
    value.is_array = true;
    value.type = cursor.type("a list's element type");
    if (value.type == GgufValueType::kArray)
      core::throw_user("{}: byte {}: {} is a list of lists, which is not supported", cursor.where(),
                       value.offset, key);
    const size_t at = cursor.position();
    const auto number = cursor.read<uint64_t>("a list's length");
    const size_t each = value.type == GgufValueType::kString ? 8 : gguf_size_of(value.type);
    value.count = cursor.count(number, each, fmt::format("the elements of {}", key).c_str(), at);
    value.offset = cursor.position();
  }
  if (value.type != GgufValueType::kString) {
    value.bytes = cursor.take(value.count * gguf_size_of(value.type), "a value");
    return value;
  }
  Cursor walk = cursor;
  for (uint64_t i = 0; i < value.count; ++i) walk.text("a text");
  value.bytes = cursor.take(walk.position() - cursor.position(), "texts");
  return value;
}

struct RawTensor {
  GgufTensor tensor;
  uint64_t offset = 0;  // from the start of the data
  uint64_t bytes = 0;
  size_t place = 0;  // of the offset field in the file
};

GgmlType read_tensor_type(Cursor& cursor, const std::string& name) {
  const size_t at = cursor.position();
  const auto number = cursor.read<uint32_t>("a tensor's type");
  if (!find_ggml_block(number)) {
    const std::string known = unsupported_ggml_name(number);
    core::throw_user(
        "{}: byte {}: tensor '{}' has type {}{}, expected F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, "
        "Q5_1, Q4_K, Q5_K or Q6_K",
        cursor.where(), at, name, number, known.empty() ? "" : " (" + known + ")");
  }
  return static_cast<GgmlType>(number);
}

// Bytes of `tensor`, whose rows must be whole blocks.
uint64_t bytes_of(const GgufTensor& tensor, const std::string& where, size_t at) {
  const GgmlBlock block = ggml_block(tensor.type);
  if (tensor.shape.back() % block.values != 0) {
    core::throw_user(
        "{}: byte {}: tensor '{}' of type {} has rows of {} values, expected a multiple of {}",
        where, at, tensor.name, block.name, tensor.shape.back(), block.values);
  }
  uint64_t values = 1, bytes = 0;
  bool fits = true;
  for (const int64_t size : tensor.shape)
    fits = fits && !__builtin_mul_overflow(values, static_cast<uint64_t>(size), &values);
  fits = fits &&
         !__builtin_mul_overflow(values / block.values, static_cast<uint64_t>(block.bytes), &bytes);
  if (!fits || values > INT64_MAX || bytes > INT64_MAX) {
    core::throw_user("{}: byte {}: tensor '{}': shape [{}] has more bytes than 64 bits can count",
                     where, at, tensor.name, fmt::join(tensor.shape, ", "));
  }
  return bytes;
}

RawTensor read_tensor(Cursor& cursor) {
  RawTensor raw;
  raw.tensor.name = cursor.name("a tensor's name");
  const size_t at = cursor.position();
  const auto dimensions = cursor.read<uint32_t>("a tensor's number of dimensions");
  if (dimensions == 0 || dimensions > kDimensionsMax) {
    core::throw_user("{}: byte {}: tensor '{}' has {} dimensions, expected 1 to {}", cursor.where(),
                     at, raw.tensor.name, dimensions, kDimensionsMax);
  }
  for (uint32_t i = 0; i < dimensions; ++i) {
    const auto size = cursor.read<uint64_t>("a tensor's size");
    if (size == 0 || size > INT64_MAX) {
      core::throw_user("{}: byte {}: tensor '{}' has a size of {}", cursor.where(), at,
                       raw.tensor.name, size);
    }
    raw.tensor.shape.insert(raw.tensor.shape.begin(), static_cast<int64_t>(size));
  }
  raw.tensor.type = read_tensor_type(cursor, raw.tensor.name);
  raw.place = cursor.position();
  raw.offset = cursor.read<uint64_t>("a tensor's offset");
  raw.bytes = bytes_of(raw.tensor, cursor.where(), at);
  return raw;
}

// Gives each tensor its bytes: aligned, within the file, no two overlapping.
void place_tensors(std::vector<RawTensor>& raw, std::span<const std::byte> file, uint64_t begin,
                   uint64_t alignment, const std::string& where) {
  for (RawTensor& entry : raw) {
    const std::string& name = entry.tensor.name;
    if (entry.offset % alignment != 0) {
      core::throw_user("{}: byte {}: tensor '{}' lies at {}, expected a multiple of {}", where,
                       entry.place, name, entry.offset, alignment);
    }
    uint64_t end = 0;
    const bool counts = !__builtin_add_overflow(entry.offset, entry.bytes, &end) &&
                        !__builtin_add_overflow(end, begin, &end);
    if (!counts || end > file.size()) {
      core::throw_user(
          "{}: byte {}: tensor '{}' of {} bytes at {} of the data ends beyond the file's {} bytes: "
          "the file is truncated or damaged; download it again",
          where, entry.place, name, entry.bytes, entry.offset, file.size());
    }
    entry.tensor.data = file.subspan(begin + entry.offset, entry.bytes);
  }
  std::vector<const RawTensor*> order;
  for (const RawTensor& entry : raw) order.push_back(&entry);
  std::sort(order.begin(), order.end(),
            [](const RawTensor* a, const RawTensor* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i]->offset >= order[i - 1]->offset + order[i - 1]->bytes) continue;
    core::throw_user("{}: byte {}: tensor '{}' overlaps '{}'", where, order[i]->place,
                     order[i]->tensor.name, order[i - 1]->tensor.name);
  }
}

struct Counts {
  uint64_t tensors, values;
};

Counts read_head(Cursor& cursor) {
  const std::string& where = cursor.where();
  const auto magic =
      cursor.left() < 4 ? cursor.take(cursor.left(), "") : cursor.take(4, "the format's mark");
  if (magic.size() < 4 || std::memcmp(magic.data(), "GGUF", 4) != 0)
    core::throw_user("{}: no GGUF file: it does not begin with 'GGUF'", where);
  const auto version = cursor.read<uint32_t>("the version");
  if (version != 2 && version != 3) {
    const bool swapped = version == 0x02000000 || version == 0x03000000;
    core::throw_user("{}: byte 4: {}, expected version 2 or 3 in little endian", where,
                     swapped ? "a big-endian GGUF file" : fmt::format("GGUF version {}", version));
  }
  const size_t at = cursor.position();
  const auto tensors = cursor.read<uint64_t>("the number of tensors");
  const auto values = cursor.read<uint64_t>("the number of metadata values");
  // The least that one takes: a tensor 8 + 1 + 4 + 8 + 4 + 8 bytes, a value 8 + 1 + 4 + 1.
  return {cursor.count(tensors, 33, "tensors", at),
          cursor.count(values, 14, "metadata values", at + 8)};
}

}  // namespace

int64_t GgufTensor::numel() const {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

GgufContent::GgufContent(std::span<const std::byte> file, std::string where)
    : where_(std::move(where)) {
  Cursor cursor(file, where_);
  const Counts counts = read_head(cursor);
  for (uint64_t i = 0; i < counts.values; ++i) {
    const size_t at = cursor.position();
    const std::string key = cursor.name("a metadata key");
    if (!values_.emplace(key, read_value(cursor, key)).second)
      core::throw_user("{}: byte {}: the metadata key {} is given twice", where_, at, key);
  }
  std::vector<RawTensor> raw;
  for (uint64_t i = 0; i < counts.tensors; ++i) {
    const size_t at = cursor.position();
    raw.push_back(read_tensor(cursor));
    if (!tensor_index_.emplace(raw.back().tensor.name, i).second)
      core::throw_user("{}: byte {}: tensor '{}' is given twice", where_, at,
                       raw.back().tensor.name);
  }
  const auto alignment = static_cast<uint64_t>(
      integer("general.alignment").value_or(static_cast<int64_t>(kDefaultAlignment)));
  if (alignment == 0 || (alignment & (alignment - 1)) != 0 || alignment > (1u << 20)) {
    core::throw_user("{}: general.alignment is {}, expected a power of two up to 2^20", where_,
                     static_cast<int64_t>(alignment));
  }
  const uint64_t begin = (cursor.position() + alignment - 1) / alignment * alignment;
  place_tensors(raw, file, begin, alignment, where_);
  for (RawTensor& entry : raw) tensors_.push_back(std::move(entry.tensor));
}

GgufFile::GgufFile(const std::filesystem::path& path)
    : map_(std::make_shared<core::MappedFile>(path, "GGUF file")),
      content_(std::make_shared<GgufContent>(map_->bytes(), path.string())) {}

}  // namespace ponder::policy
