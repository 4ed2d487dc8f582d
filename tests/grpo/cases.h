// Reads the folder of TRL's losses and advantages: $PONDER_CASES/grpo, else tests/cases/grpo.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "core/file.h"
#include "data/types.h"

namespace ponder::grpo::testing {

inline std::filesystem::path cases_folder() {
  const char* set = std::getenv("PONDER_CASES");
  const std::filesystem::path root = set != nullptr ? set : PONDER_SOURCE_DIR "/tests/cases";
  return root / "grpo";
}

// Every file below the folder whose name begins with `prefix`, in order: the seeds of one
// generator.
inline std::vector<std::filesystem::path> case_files(const std::string& prefix) {
  std::vector<std::filesystem::path> files;
  if (!std::filesystem::exists(cases_folder())) return files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(cases_folder())) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(prefix) && entry.path().extension() == ".json")
      files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

inline data::Json read_cases(const std::filesystem::path& file) {
  return data::Json::parse(core::read_file(file, "cases"));
}

inline void flatten(const data::Json& values, std::vector<double>& out) {
  if (values.is_array()) {
    for (const auto& v : values) flatten(v, out);
  } else {
    out.push_back(values.get<double>());
  }
}

// Nested lists as a float64 tensor of their shape; a null is an error.
inline at::Tensor tensor_of(const data::Json& values) {
  std::vector<double> flat;
  flatten(values, flat);
  std::vector<int64_t> shape;
  for (const data::Json* level = &values; level->is_array(); level = &level->at(0)) {
    shape.push_back(static_cast<int64_t>(level->size()));
  }
  return at::tensor(flat, at::kDouble).view(shape);
}

// max |got - want| / max |want|: the relative error of a whole tensor; of an empty one 0.
inline double relative_error(const at::Tensor& got, const at::Tensor& want) {
  if (want.numel() == 0) return got.numel() == 0 ? 0 : 1;
  const at::Tensor error = (got.to(at::kDouble) - want).abs().max();
  return (error / want.abs().max().clamp_min(1e-12)).item<double>();
}

}  // namespace ponder::grpo::testing
