#include <cstring>

#include "core/error.h"
#include "policy/gguf.h"
#include "policy/utf8.h"

// GgufContent's look into its metadata; the bytes were checked when the file was parsed.
namespace ponder::policy {
namespace {

const char* type_name(GgufValueType type) {
  constexpr const char* kNames[] = {"uint8",  "int8",    "uint16",  "int16", "uint32",
                                    "int32",  "float32", "boolean", "text",  "list",
                                    "uint64", "int64",   "float64"};
  return kNames[static_cast<uint32_t>(type)];
}

bool is_integer(GgufValueType type) {
  return gguf_size_of(type) != 0 && type != GgufValueType::kBool &&
         type != GgufValueType::kFloat32 && type != GgufValueType::kFloat64;
}

template <typename T>
T load(const std::byte* data) {
  T value;
  std::memcpy(&value, data, sizeof value);  // little endian, as every machine we run on
  return value;
}

int64_t to_integer(GgufValueType type, const std::byte* data) {
  switch (type) {
    case GgufValueType::kUint8:
      return load<uint8_t>(data);
    case GgufValueType::kInt8:
      return load<int8_t>(data);
    case GgufValueType::kUint16:
      return load<uint16_t>(data);
    case GgufValueType::kInt16:
      return load<int16_t>(data);
    case GgufValueType::kUint32:
      return load<uint32_t>(data);
    case GgufValueType::kInt32:
      return load<int32_t>(data);
    default:
      return load<int64_t>(data);
  }
}

std::string_view text_at(std::span<const std::byte> bytes) {
  const auto length = load<uint64_t>(bytes.data());
  return {reinterpret_cast<const char*>(bytes.data()) + sizeof length, length};
}

}  // namespace

size_t gguf_size_of(GgufValueType type) {
  constexpr size_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return kSizes[static_cast<uint32_t>(type)];
}

const GgufTensor* GgufContent::find_tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

const GgufValue* GgufContent::find(std::string_view key, bool is_array) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return nullptr;
  if (found->second.is_array != is_array)
    wrong_type(key, found->second, is_array ? "a list" : "a single value");
  return &found->second;
}

void GgufContent::wrong_type(std::string_view key, const GgufValue& value,
                             const char* expected) const {
  core::throw_user("{}: byte {}: {} is {}{}, expected {}", where_, value.offset, key,
                   value.is_array ? "a list of " : "", type_name(value.type), expected);
}

std::optional<std::vector<int64_t>> GgufContent::integers(std::string_view key) const {
  const GgufValue* value = find(key, true);
  if (value == nullptr) return std::nullopt;
  if (!is_integer(value->type)) wrong_type(key, *value, "a list of integers");
  std::vector<int64_t> out;
  out.reserve(value->count);
  for (uint64_t i = 0; i < value->count; ++i)
    out.push_back(to_integer(value->type, value->bytes.data() + i * gguf_size_of(value->type)));
  return out;
}

std::optional<int64_t> GgufContent::integer(std::string_view key) const {
  const GgufValue* value = find(key, false);
  if (value == nullptr) return std::nullopt;
  if (!is_integer(value->type)) wrong_type(key, *value, "an integer");
  const int64_t number = to_integer(value->type, value->bytes.data());
  if (value->type == GgufValueType::kUint64 && number < 0)
    core::throw_user("{}: byte {}: {} is beyond 2^63", where_, value->offset, key);
  return number;
}

std::optional<double> GgufContent::number(std::string_view key) const {
  const GgufValue* value = find(key, false);
  if (value == nullptr) return std::nullopt;
  if (value->type == GgufValueType::kFloat32) return load<float>(value->bytes.data());
  if (value->type == GgufValueType::kFloat64) return load<double>(value->bytes.data());
  return static_cast<double>(*integer(key));
}

std::optional<bool> GgufContent::boolean(std::string_view key) const {
  const GgufValue* value = find(key, false);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufValueType::kBool) wrong_type(key, *value, "true or false");
  return load<uint8_t>(value->bytes.data()) != 0;
}

std::optional<std::vector<float>> GgufContent::numbers(std::string_view key) const {
  const GgufValue* value = find(key, true);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufValueType::kFloat32) wrong_type(key, *value, "a list of float32");
  std::vector<float> out(value->count);
  if (!out.empty()) std::memcpy(out.data(), value->bytes.data(), value->bytes.size());
  return out;
}

std::optional<std::vector<std::string_view>> GgufContent::texts(std::string_view key) const {
  const GgufValue* value = find(key, true);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufValueType::kString) wrong_type(key, *value, "a list of texts");
  std::vector<std::string_view> out;
  out.reserve(value->count);
  size_t position = 0;
  for (uint64_t i = 0; i < value->count; ++i) {
    out.push_back(text_at(value->bytes.subspan(position)));
    if (!is_utf8(out.back())) {
      core::throw_user("{}: byte {}: {}[{}] is not UTF-8", where_, value->offset + position, key,
                       i);
    }
    position += sizeof(uint64_t) + out.back().size();
  }
  return out;
}

std::optional<std::string_view> GgufContent::text(std::string_view key) const {
  const GgufValue* value = find(key, false);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufValueType::kString) wrong_type(key, *value, "a text");
  const std::string_view text = text_at(value->bytes);
  if (!is_utf8(text)) core::throw_user("{}: byte {}: {} is not UTF-8", where_, value->offset, key);
  return text;
}

int64_t GgufContent::require_integer(std::string_view key) const {
  const auto value = integer(key);
  if (!value)
    core::throw_user("{}: the metadata key {} is missing, expected an integer", where_, key);
  return *value;
}

std::string_view GgufContent::require_text(std::string_view key) const {
  const auto value = text(key);
  if (!value) core::throw_user("{}: the metadata key {} is missing, expected a text", where_, key);
  return *value;
}

}  // namespace ponder::policy
