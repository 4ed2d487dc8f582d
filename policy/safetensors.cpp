#include "policy/safetensors.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/spelling.h"
#include "policy/safetensors_header.h"

namespace ponder::policy {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

[[noreturn]] void throw_missing(const fs::path& place, const std::string& name,
                                const std::vector<std::string>& names) {
  const std::string near = core::nearest_name(name, names);
  if (near.empty())
    core::throw_user("{}: there is no tensor '{}' among its {}", place.string(), name,
                     names.size());
  core::throw_user("{}: there is no tensor '{}', did you mean '{}'?", place.string(), name, near);
}

}  // namespace

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
  if (found == tensors_.end()) throw_missing(path(), name, names_);
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
  const std::string text = core::read_file(index, "weights index");
  Json json;
  try {
    json = Json::parse(text);
  } catch (const Json::exception& error) {
    core::throw_user("{}: not JSON: {}", where, error.what());
  }
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
  if (shard == shard_of_.end()) throw_missing(folder_, name, names_);
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

}  // namespace ponder::policy
