#include "policy/safetensors_header.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include <fmt/ranges.h>

#include "core/error.h"
#include "core/json_text.h"

namespace ponder::policy {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the Python package's own limit

struct DtypeName {
  const char* name;
  at::ScalarType dtype;
};

constexpr DtypeName kDtypes[] = {
    {"F32", at::ScalarType::Float},     {"F16", at::ScalarType::Half},
    {"BF16", at::ScalarType::BFloat16}, {"F8_E4M3", at::ScalarType::Float8_e4m3fn},
    {"F64", at::ScalarType::Double},    {"I64", at::ScalarType::Long},
    {"I32", at::ScalarType::Int},       {"I16", at::ScalarType::Short},
    {"I8", at::ScalarType::Char},       {"U8", at::ScalarType::Byte},
    {"BOOL", at::ScalarType::Bool},
};

at::ScalarType dtype_named(const std::string& name, const std::string& place) {
  for (const DtypeName& entry : kDtypes) {
    if (name == entry.name) return entry.dtype;
  }
  core::throw_user(
      "{}: unknown dtype '{}', expected F32, F16, BF16, F8_E4M3, F64, I64, I32, I16, I8, U8 or "
      "BOOL",
      place, name);
}

// A JSON text in which no object says a key twice at `depth` 1 (the tensors); nlohmann keeps the
// last one silently.
Json parse_without_duplicates(std::string_view text, const std::string& where) {
  std::set<std::string> seen;
  std::string duplicate;
  const auto check = [&](int depth, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::key && depth == 1 &&
        !seen.insert(value.get<std::string>()).second) {
      duplicate = value.get<std::string>();
    }
    return true;
  };
  Json parsed;
  try {
    parsed = core::parse_json<Json>(text, where + ": the header", check);
  } catch (const core::UserError& error) {
    core::throw_user("{}; download or save the file again", error.what());
  }
  if (!duplicate.empty())
    core::throw_user("{}: the header names the tensor '{}' twice", where, duplicate);
  return parsed;
}

uint64_t unsigned_at(const Json& value, const std::string& place, const char* what) {
  if (!value.is_number_unsigned()) {
    core::throw_user("{}: {} holds {}, expected a whole number that is not negative", place, what,
                     value.dump());
  }
  return value.get<uint64_t>();
}

const Json& field(const Json& entry, const char* key, const std::string& place) {
  const auto found = entry.find(key);
  if (found == entry.end()) core::throw_user("{}: '{}' is missing", place, key);
  return *found;
}

// Bytes of `info`'s shape in its dtype; an overflow is the file's fault.
uint64_t bytes_of(const TensorInfo& info, const std::string& place) {
  uint64_t bytes = c10::elementSize(info.dtype);
  bool empty = false;
  for (const int64_t size : info.shape) empty |= size == 0;
  if (empty) return 0;
  for (const int64_t size : info.shape) {
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(size), &bytes) || bytes > INT64_MAX) {
      core::throw_user("{}: shape [{}] has more bytes than 64 bits can count", place,
                       fmt::join(info.shape, ", "));
    }
  }
  return bytes;
}

TensorInfo read_tensor(const Json& entry, const std::string& place) {
  if (!entry.is_object())
    core::throw_user("{}: expected an object with dtype, shape and data_offsets", place);
  TensorInfo info;
  const Json& dtype = field(entry, "dtype", place);
  if (!dtype.is_string())
    core::throw_user("{}: dtype is {}, expected a string", place, dtype.dump());
  info.dtype = dtype_named(dtype.get<std::string>(), place);
  const Json& shape = field(entry, "shape", place);
  if (!shape.is_array())
    core::throw_user("{}: shape is {}, expected a list", place, shape.type_name());
  for (const Json& size : shape) {
    const uint64_t value = unsigned_at(size, place, "shape");
    if (value > INT64_MAX)
      core::throw_user("{}: shape holds {}, which is out of range", place, value);
    info.shape.push_back(static_cast<int64_t>(value));
  }
  const Json& offsets = field(entry, "data_offsets", place);
  if (!offsets.is_array() || offsets.size() != 2) {
    core::throw_user("{}: data_offsets must be a list of two numbers", place);
  }
  info.begin = unsigned_at(offsets[0], place, "data_offsets");
  info.end = unsigned_at(offsets[1], place, "data_offsets");
  if (info.begin > info.end) {
    core::throw_user("{}: data_offsets [{}, {}] end before they begin", place, info.begin,
                     info.end);
  }
  const uint64_t bytes = bytes_of(info, place);
  if (info.end - info.begin != bytes) {
    core::throw_user("{}: data_offsets span {} bytes, but shape [{}] in {} takes {}", place,
                     info.end - info.begin, fmt::join(info.shape, ", "), dtype.get<std::string>(),
                     bytes);
  }
  return info;
}

// The tensors must tile the data section: no overlap, no hole, nothing after the last.
void check_layout(const SafetensorsHeader& header, uint64_t file_bytes, const std::string& where) {
  uint64_t position = 0;
  for (const std::string& name : header.names) {
    const TensorInfo& info = header.tensors.at(name);
    if (info.begin < position) {
      core::throw_user("{}: tensor '{}' at byte {} overlaps the one before it, which ends at {}",
                       where, name, info.begin, position);
    }
    if (info.begin > position) {
      core::throw_user("{}: {} bytes before tensor '{}' belong to no tensor", where,
                       info.begin - position, name);
    }
    position = info.end;
  }
  const uint64_t expected = header.data_begin + position;
  if (file_bytes < expected || expected < position) {
    core::throw_user(
        "{}: expected {} bytes, found {}: the file is truncated; download or save it again", where,
        expected, file_bytes);
  }
  if (file_bytes > expected) {
    core::throw_user(
        "{}: expected {} bytes, found {}: bytes after the last tensor belong to no tensor", where,
        expected, file_bytes);
  }
}

void read_metadata(const Json& entry, SafetensorsHeader& header, const std::string& where) {
  if (!entry.is_object())
    core::throw_user("{}: __metadata__ is {}, expected an object", where, entry.type_name());
  for (const auto& [key, value] : entry.items()) {
    if (!value.is_string()) core::throw_user("{}: __metadata__ '{}' is not a string", where, key);
    header.metadata.emplace(key, value.get<std::string>());
  }
}

}  // namespace

const char* safetensors_dtype_name(at::ScalarType dtype) {
  for (const DtypeName& entry : kDtypes) {
    if (entry.dtype == dtype) return entry.name;
  }
  return nullptr;
}

SafetensorsHeader read_safetensors_header(std::span<const std::byte> file,
                                          const std::string& where) {
  uint64_t length = 0;
  if (file.size() < sizeof length) {
    core::throw_user("{}: {} bytes are too few for a safetensors file; download or save it again",
                     where, file.size());
  }
  std::memcpy(&length, file.data(), sizeof length);  // little endian, as every machine we run on
  if (length > kMaxHeaderBytes) {
    core::throw_user(
        "{}: the header claims {} bytes, more than the format's {}: not a safetensors file, or a "
        "corrupt one",
        where, length, kMaxHeaderBytes);
  }
  if (length > file.size() - sizeof length) {
    core::throw_user(
        "{}: the header claims {} bytes, but only {} follow: the file is truncated; download or "
        "save it again",
        where, length, file.size() - sizeof length);
  }
  SafetensorsHeader header;
  header.data_begin = sizeof length + length;
  const char* begin = reinterpret_cast<const char*>(file.data()) + sizeof length;
  const Json json = parse_without_duplicates({begin, length}, where);
  if (!json.is_object())
    core::throw_user("{}: the header is {}, expected an object", where, json.type_name());
  for (const auto& [name, entry] : json.items()) {
    if (name == "__metadata__") {
      read_metadata(entry, header, where);
      continue;
    }
    header.tensors.emplace(name, read_tensor(entry, fmt::format("{}: tensor '{}'", where, name)));
    header.names.push_back(name);
  }
  std::stable_sort(header.names.begin(), header.names.end(),
                   [&](const std::string& a, const std::string& b) {
                     const TensorInfo& left = header.tensors.at(a);
                     const TensorInfo& right = header.tensors.at(b);
                     return std::pair(left.begin, left.end) < std::pair(right.begin, right.end);
                   });
  check_layout(header, file.size(), where);
  return header;
}

}  // namespace ponder::policy
