#include "recipes/pending.h"

#include <functional>

#include <ATen/ATen.h>

#include "core/crc32c.h"
#include "core/error.h"
#include "core/file.h"
#include "data/records_json.h"
#include "policy/safetensors.h"
#include "recipes/checkpoint_json.h"
#include "recipes/completion_columns.h"

namespace ponder::recipes {
namespace {

namespace fs = std::filesystem;
using data::Json;

uint32_t checksum(const fs::path& path) {
  return core::crc32c(core::read_file(path, "checkpoint"));
}

using Completions = std::vector<const data::Completion*>;

// One field of all completions, end to end, and how many values each has.
template <typename Value>
void put(const CompletionColumn<Value>& column, const Completions& completions,
         policy::NamedTensors& tensors, Json& counts) {
  std::vector<Value> all;
  Json& own = counts[column.name] = Json::array();
  for (const data::Completion* completion : completions) {
    const std::vector<Value>& values = completion->*column.field;
    all.insert(all.end(), values.begin(), values.end());
    own.push_back(values.size());
  }
  tensors.emplace_back(column.name, at::tensor(all, c10::CppTypeToScalarType<Value>::value));
}

template <typename Value>
void take(const CompletionColumn<Value>& column, const policy::SafetensorsFile& file,
          const Json& counts, const std::vector<data::Completion*>& completions) {
  const at::Tensor tensor = file.tensor(column.name);
  if (tensor.scalar_type() != c10::CppTypeToScalarType<Value>::value)
    throw_damaged(file.path(), fmt::format("'{}' is of another type", column.name));
  const Value* values = tensor.const_data_ptr<Value>();
  int64_t left = tensor.numel();
  const Json& own = counts.at(column.name);
  for (size_t i = 0; i < completions.size(); ++i) {
    const auto count = own.at(i).get<int64_t>();
    if (count < 0 || count > left)
      throw_damaged(file.path(), fmt::format("'{}' has too few values", column.name));
    (completions[i]->*column.field).assign(values, values + count);
    values += count;
    left -= count;
  }
}

void save(const fs::path& checkpoint, const std::string& name,
          const std::vector<data::ScoredGroup>& groups, Json json) {
  Completions completions;
  Json records = Json::array(), counts;
  for (const data::ScoredGroup& scored : groups) {
    records.push_back(data::to_json(scored));
    for (const data::Completion& completion : scored.group.completions)
      completions.push_back(&completion);
  }
  policy::NamedTensors tensors;
  for_each_column([&](const auto& column) { put(column, completions, tensors, counts); });
  const fs::path path = checkpoint / (name + ".safetensors");
  policy::save_safetensors(path, tensors);
  json["groups"] = std::move(records);
  json["counts"] = std::move(counts);
  json["safetensors_crc32c"] = checksum(path);
  write_checkpoint_json(checkpoint / (name + ".json"), std::move(json));
}

// Reads the groups and hands the JSON to `more`, whose JSON errors are damage too.
void load(const fs::path& checkpoint, const std::string& name,
          const std::function<void(std::vector<data::ScoredGroup>, const Json&)>& more) {
  const fs::path path = checkpoint / (name + ".json"),
                 tensors = checkpoint / (name + ".safetensors");
  try {
    const Json json = read_checkpoint_json(path);
    if (checksum(tensors) != json.at("safetensors_crc32c").get<uint32_t>())
      throw_damaged(tensors, "its checksum is another");
    std::vector<data::ScoredGroup> groups;
    for (const Json& record : json.at("groups")) groups.push_back(data::scored_group_from(record));
    std::vector<data::Completion*> completions;
    for (data::ScoredGroup& scored : groups) {
      for (data::Completion& completion : scored.group.completions)
        completions.push_back(&completion);
    }
    const policy::SafetensorsFile file(tensors);
    const Json& counts = json.at("counts");
    for_each_column([&](const auto& column) { take(column, file, counts, completions); });
    more(std::move(groups), json);
  } catch (const Json::exception& error) {
    throw_damaged(path, error);
  }
}

}  // namespace

void save_pending(const fs::path& checkpoint, const Rollout& rollout) {
  save(checkpoint, "pending", rollout.groups,
       {{"metrics", rollout.metrics}, {"seconds", rollout.seconds}});
}

std::optional<Rollout> load_pending(const fs::path& checkpoint) {
  if (!fs::exists(checkpoint / "pending.json")) return std::nullopt;
  Rollout rollout;
  load(checkpoint, "pending", [&](std::vector<data::ScoredGroup> groups, const Json& json) {
    rollout.groups = std::move(groups);
    json.at("metrics").get_to(rollout.metrics);
    json.at("seconds").get_to(rollout.seconds);
  });
  return rollout;
}

void save_paused(const fs::path& checkpoint, const std::vector<OpenGroup>& groups) {
  std::vector<data::ScoredGroup> unscored;
  Json rounds = Json::array();
  for (const OpenGroup& open : groups) {
    unscored.emplace_back(open.group, std::vector<data::Score>(open.group.completions.size()));
    rounds.push_back(open.round);
  }
  save(checkpoint, "paused", unscored, {{"rounds", rounds}});
}

std::vector<OpenGroup> load_paused(const fs::path& checkpoint) {
  std::vector<OpenGroup> out;
  if (!fs::exists(checkpoint / "paused.json")) return out;
  load(checkpoint, "paused", [&](std::vector<data::ScoredGroup> groups, const Json& json) {
    for (size_t i = 0; i < groups.size(); ++i)
      out.push_back({std::move(groups[i].group), json.at("rounds").at(i).get<int64_t>()});
  });
  return out;
}

}  // namespace ponder::recipes
