// The header of a safetensors file: its JSON read and checked against the file's size. Private to
// the safetensors sources.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "policy/safetensors.h"

namespace ponder::policy {

struct SafetensorsHeader {
  size_t data_begin = 0;           // file offset of the data section
  std::vector<std::string> names;  // in the order of the data
  std::unordered_map<std::string, TensorInfo> tensors;
  std::map<std::string, std::string> metadata;
};

// Reads the header from the bytes of a whole file; `where` is the file's name in errors. Throws
// UserError as SafetensorsFile's constructor says.
SafetensorsHeader read_safetensors_header(std::span<const std::byte> file,
                                          const std::string& where);

// UserError: `place` has no tensor of that name; offers the nearest of `names`.
[[noreturn]] void throw_missing_tensor(const std::filesystem::path& place, const std::string& name,
                                       const std::vector<std::string>& names);

// The format's name of a dtype ("BF16") or nullptr where the format (or we) have none.
const char* safetensors_dtype_name(at::ScalarType dtype);

}  // namespace ponder::policy
