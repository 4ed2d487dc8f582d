#include <algorithm>
#include <nlohmann/json.hpp>

#include <ATen/ATen.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/file.h"
#include "core/json_text.h"
#include "policy/fp8.h"
#include "policy/safetensors.h"
#include "policy/safetensors_header.h"

namespace ponder::policy {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

constexpr std::string_view kScaleSuffix = "_scale_inv";

}  // namespace

WeightFolder::WeightFolder(const fs::path& folder) : folder_(folder) {
  const fs::path single = folder / "model.safetensors";
  const fs::path index = folder / "model.safetensors.index.json";
  if (fs::exists(single)) {
    auto file = std::make_unique<SafetensorsFile>(single);
    names_ = file->names();
    for (const std::string& name : names_) shard_of_.emplace(name, single.filename());
    open_.emplace(single.filename(), std::move(file));
  } else if (fs::exists(index)) {
    read_index(index);
  } else {
    core::throw_user("{}: there is neither model.safetensors nor model.safetensors.index.json",
                     folder.string());
  }
  std::sort(names_.begin(), names_.end());
}

void WeightFolder::read_index(const fs::path& index) {
  const std::string where = index.string();
  const auto json = core::parse_json<Json>(core::read_file(index, "weights index"), where);
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (map == json.end() || !map->is_object())
    core::throw_user("{}: expected an object 'weight_map'", where);
  std::map<std::string, bool> shard_exists;
  for (const auto& [name, shard] : map->items()) {
    const std::string file = shard.is_string() ? shard.get<std::string>() : std::string();
    if (file.empty() || fs::path(file).filename() != file || file == "." || file == "..") {
      core::throw_user(
          "{}: tensor '{}' is said to be in {}, expected the name of a file beside the index",
          where, name, shard.dump());
    }
    const auto [seen, fresh] = shard_exists.emplace(file, true);
    if (fresh && !fs::is_regular_file(folder_ / file)) {
      core::throw_user("{}: tensor '{}' is said to be in {}, which is missing; download it again",
                       where, name, file);
    }
    names_.push_back(name);
    shard_of_.emplace(name, file);
  }
}

const SafetensorsFile& WeightFolder::file_with(const std::string& name) const {
  const auto shard = shard_of_.find(name);
  if (shard == shard_of_.end()) throw_missing_tensor(folder_, name, names_);
  const std::lock_guard lock(mutex_);
  std::unique_ptr<SafetensorsFile>& file = open_[shard->second];
  if (file == nullptr) file = std::make_unique<SafetensorsFile>(folder_ / shard->second);
  if (!file->contains(name)) {
    core::throw_user("{}: tensor '{}' is missing, but model.safetensors.index.json says it is here",
                     file->path().string(), name);
  }
  return *file;
}

const TensorInfo& WeightFolder::info(const std::string& name) const {
  return file_with(name).info(name);
}

at::Tensor WeightFolder::tensor(const std::string& name) const {
  return file_with(name).tensor(name);
}

bool WeightFolder::is_block_scale(const std::string& name) const {
  return name.ends_with(kScaleSuffix) &&
         contains(name.substr(0, name.size() - kScaleSuffix.size()));
}

// The part of the scales that rows begin..end of the matrix `name` need, checked.
at::Tensor WeightFolder::block_scales(const std::string& name, int64_t begin, int64_t end) const {
  const std::string scale_name = name + std::string(kScaleSuffix);
  const std::vector<int64_t>& shape = info(name).shape;
  const std::string where = fmt::format("{}: tensor '{}'", file_with(name).path().string(), name);
  if (shape.size() != 2)
    core::throw_user("{}: expected a matrix in F8_E4M3, found {} dimensions", where, shape.size());
  if (!contains(scale_name)) {
    core::throw_user("{} is in F8_E4M3 without its block scales '{}'; download the model again",
                     where, scale_name);
  }
  const TensorInfo& scale = info(scale_name);
  const auto blocks = [](int64_t size, int64_t block) { return (size + block - 1) / block; };
  const std::vector<int64_t> expected = {blocks(shape[0], kFp8Blocks.rows),
                                         blocks(shape[1], kFp8Blocks.cols)};
  if (scale.shape != expected || !at::isFloatingType(scale.dtype) ||
      scale.dtype == at::kFloat8_e4m3fn) {
    core::throw_user(
        "{}: '{}' is {} of shape [{}], expected floating point of shape [{}]: a scale for each 128 "
        "x "
        "128 block of [{}]",
        where, scale_name, at::toString(scale.dtype), fmt::join(scale.shape, ", "),
        fmt::join(expected, ", "), fmt::join(shape, ", "));
  }
  const int64_t first = begin / kFp8Blocks.rows;
  return tensor(scale_name).narrow(0, first, blocks(end, kFp8Blocks.rows) - first);
}

at::Tensor WeightFolder::load_rows(const std::string& name, int64_t begin, int64_t end,
                                   at::ScalarType dtype) const {
  const at::Tensor whole = tensor(name);
  PONDER_CHECK(whole.dim() > 0 && 0 <= begin && begin <= end && end <= whole.size(0),
               "[load_rows] rows {}..{} of tensor '{}'", begin, end, name);
  const at::Tensor rows = whole.narrow(0, begin, end - begin);
  if (whole.scalar_type() != at::kFloat8_e4m3fn) return rows.to(dtype);
  // Blocks are counted from the first row of the matrix: the rows before within the first block are
  // decoded with the others and dropped.
  const int64_t lead = begin % kFp8Blocks.rows;
  if (begin == end) return at::empty({0, whole.size(1)}, dtype);
  const Fp8Matrix blocks{whole.narrow(0, begin - lead, end - begin + lead),
                         block_scales(name, begin, end), kFp8Blocks};
  return dequantize_fp8(blocks, dtype).narrow(0, lead, end - begin);
}

at::Tensor WeightFolder::load(const std::string& name, at::ScalarType dtype) const {
  const at::Tensor whole = tensor(name);
  if (whole.scalar_type() != at::kFloat8_e4m3fn) return whole.to(dtype);
  return dequantize_fp8({whole, block_scales(name, 0, info(name).shape[0]), kFp8Blocks}, dtype);
}

void WeightFolder::load_into(const std::string& name, const at::Tensor& to) const {
  const SafetensorsFile& file = file_with(name);
  const bool scaled = file.info(name).dtype == at::kFloat8_e4m3fn;
  to.copy_(scaled ? load(name, to.scalar_type()) : file.tensor(name));
  file.forget(name);
}

}  // namespace ponder::policy
