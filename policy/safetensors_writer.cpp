#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include <fmt/ranges.h>

#include "core/error.h"
#include "core/file.h"
#include "policy/safetensors.h"
#include "policy/safetensors_header.h"

namespace ponder::policy {
namespace {

namespace fs = std::filesystem;

// Place in the Python package's enumeration of dtypes, by which it orders tensors (descending) so
// that each stays aligned.
int dtype_order(at::ScalarType dtype) {
  switch (dtype) {
    case at::ScalarType::Bool:
      return 0;
    case at::ScalarType::Byte:
      return 1;
    case at::ScalarType::Char:
      return 2;
    case at::ScalarType::Float8_e4m3fn:
      return 3;
    case at::ScalarType::Short:
      return 4;
    case at::ScalarType::Half:
      return 5;
    case at::ScalarType::BFloat16:
      return 6;
    case at::ScalarType::Int:
      return 7;
    case at::ScalarType::Float:
      return 8;
    case at::ScalarType::Double:
      return 9;
    case at::ScalarType::Long:
      return 10;
    default:
      PONDER_CHECK(false, "[save_safetensors] no safetensors dtype for {}", c10::toString(dtype));
  }
}

std::vector<const TensorSource*> in_file_order(std::span<const TensorSource> tensors) {
  std::set<std::string> names;
  std::vector<const TensorSource*> order;
  for (const TensorSource& entry : tensors) {
    PONDER_CHECK(names.insert(entry.name).second, "[save_safetensors] tensor '{}' is given twice",
                 entry.name);
    order.push_back(&entry);
  }
  std::sort(order.begin(), order.end(), [](const TensorSource* a, const TensorSource* b) {
    const int left = dtype_order(a->dtype);
    const int right = dtype_order(b->dtype);
    return left != right ? left > right : a->name < b->name;
  });
  return order;
}

std::string header_text(const std::vector<const TensorSource*>& order,
                        const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  int64_t position = 0;
  std::string text = header.dump();
  text.pop_back();  // the closing brace: entries are appended one by one, ordered_json would search
                    // for each key
  for (const TensorSource* entry : order) {
    const int64_t end = position + entry->bytes();
    if (text.size() > 1) text += ',';
    text += fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                        nlohmann::json(entry->name).dump(), safetensors_dtype_name(entry->dtype),
                        fmt::join(entry->shape, ","), position, end);
    position = end;
  }
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

std::vector<TensorSource> sources_of(const NamedTensors& tensors) {
  std::vector<TensorSource> sources;
  for (const auto& [name, tensor] : tensors) {
    sources.push_back(
        {name, tensor.scalar_type(), tensor.sizes().vec(), [tensor = tensor] { return tensor; }});
  }
  return sources;
}

std::string shard_name(size_t index, size_t count) {
  return count == 1 ? "model.safetensors"
                    : fmt::format("model-{:05}-of-{:05}.safetensors", index + 1, count);
}

using Shard = std::vector<TensorSource>;

// Hugging Face's rule: a tensor larger than the limit gets a shard of its own, else shards fill up
// in the given order.
std::vector<Shard> divide(const std::vector<TensorSource>& tensors, int64_t max_shard_bytes) {
  std::vector<Shard> shards;
  Shard current;
  int64_t current_bytes = 0;
  for (const TensorSource& entry : tensors) {
    const int64_t bytes = entry.bytes();
    if (bytes > max_shard_bytes) {
      shards.push_back({entry});
      continue;
    }
    if (current_bytes + bytes > max_shard_bytes) {
      shards.push_back(std::exchange(current, {}));
      current_bytes = 0;
    }
    current.push_back(entry);
    current_bytes += bytes;
  }
  if (!current.empty() || shards.empty()) shards.push_back(std::move(current));
  return shards;
}

void write_index(const fs::path& path, const std::vector<Shard>& shards) {
  nlohmann::json index;  // its objects are ordered by key, as Hugging Face's sort_keys=True
  int64_t bytes = 0;
  int64_t parameters = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    for (const TensorSource& tensor : shards[i]) {
      index["weight_map"][tensor.name] = shard_name(i, shards.size());
      bytes += tensor.bytes();
      parameters += c10::multiply_integers(tensor.shape);
    }
  }
  index["metadata"] = {{"total_size", bytes}, {"total_parameters", parameters}};
  core::write_file_atomic(path, index.dump(2) + "\n");
}

bool is_weight_file(const std::string& name) {
  if (name == "model.safetensors" || name == "model.safetensors.index.json") return true;
  size_t at = 0;
  const auto eat = [&](std::string_view text) {
    const bool matches = name.compare(at, text.size(), text) == 0;
    at += text.size();
    return matches;
  };
  const auto eat_digits = [&] {
    const size_t from = at;
    while (at < name.size() && name[at] >= '0' && name[at] <= '9') ++at;
    return at >= from + 5;
  };
  return eat("model-") && eat_digits() && eat("-of-") && eat_digits() && eat(".safetensors") &&
         at == name.size();
}

void remove_stale_weights(const fs::path& folder, const std::set<std::string>& keep) {
  std::vector<fs::path> stale;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (is_weight_file(name) && !keep.contains(name)) stale.push_back(entry.path());
  }
  for (const fs::path& path : stale) fs::remove(path);
}

void save_sources(const fs::path& path, std::span<const TensorSource> tensors,
                  const std::map<std::string, std::string>& metadata) {
  const auto order = in_file_order(tensors);
  const std::string header = header_text(order, metadata);
  const fs::path temporary = path.string() + ".part";
  core::FileWriter writer(temporary);
  const uint64_t length = header.size();
  writer.write(&length, sizeof length);
  writer.write(header);
  for (const TensorSource* entry : order) {
    const at::Tensor data = entry->make().detach().to(at::kCPU).contiguous();
    PONDER_CHECK(data.scalar_type() == entry->dtype && data.sizes() == entry->shape,
                 "[save_safetensors] tensor '{}' is not what was announced", entry->name);
    writer.write(data.data_ptr(), data.nbytes());
  }
  writer.close();
  std::error_code failed;
  fs::rename(temporary, path, failed);
  if (failed) {
    fs::remove(temporary);
    core::throw_run("cannot rename {} to {}: {}", temporary.string(), path.string(),
                    failed.message());
  }
  core::sync_directory(path.has_parent_path() ? path.parent_path() : fs::path("."));
}

}  // namespace

int64_t TensorSource::bytes() const {
  return c10::multiply_integers(shape) * static_cast<int64_t>(c10::elementSize(dtype));
}

void save_safetensors(const fs::path& path, const NamedTensors& tensors,
                      const std::map<std::string, std::string>& metadata) {
  save_sources(path, sources_of(tensors), metadata);
}

void save_weight_shards(const fs::path& folder, const NamedTensors& tensors,
                        int64_t max_shard_bytes) {
  save_weight_shards(folder, sources_of(tensors), max_shard_bytes);
}

void save_weight_shards(const fs::path& folder, const std::vector<TensorSource>& tensors,
                        int64_t max_shard_bytes) {
  PONDER_CHECK(max_shard_bytes > 0, "[save_weight_shards] expected a positive shard size, got {}",
               max_shard_bytes);
  const std::vector<Shard> shards = divide(tensors, max_shard_bytes);
  std::set<std::string> written;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shard_name(i, shards.size());
    save_sources(folder / name, shards[i], {{"format", "pt"}});
    written.insert(name);
  }
  if (shards.size() > 1) {
    write_index(folder / "model.safetensors.index.json", shards);
    written.insert("model.safetensors.index.json");
  }
  remove_stale_weights(folder, written);
}

}  // namespace ponder::policy
