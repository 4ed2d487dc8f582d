#include "recipes/pending.h"

#include <ATen/ATen.h>

#include "core/crc32c.h"
#include "core/error.h"
#include "core/file.h"
#include "data/records_json.h"
#include "policy/safetensors.h"

namespace ponder::recipes {
namespace {

namespace fs = std::filesystem;

template <typename Value, typename Pick>
std::vector<Value> flat(const std::vector<data::ScoredGroup>& groups, const Pick& pick) {
  std::vector<Value> all;
  for (const data::ScoredGroup& scored : groups) {
    for (const data::Completion& completion : scored.group.completions) {
      const auto& values = pick(completion);
      all.insert(all.end(), values.begin(), values.end());
    }
  }
  return all;
}

uint32_t checksum(const fs::path& path) {
  return core::crc32c(core::read_file(path, "checkpoint"));
}

}  // namespace

void save_pending(const fs::path& checkpoint, const Rollout& rollout) {
  const std::vector<data::ScoredGroup>& groups = rollout.groups;
  data::Json lengths = data::Json::array(), records = data::Json::array();
  for (const data::ScoredGroup& scored : groups) {
    records.push_back(data::to_json(scored));
    for (const data::Completion& completion : scored.group.completions)
      lengths.push_back(completion.token_ids.size());
  }
  const fs::path tensors = checkpoint / "pending.safetensors";
  policy::save_safetensors(
      tensors,
      {{"token_ids", at::tensor(flat<int32_t>(
                                    groups, [](const auto& c) -> auto& { return c.token_ids; }),
                                at::kInt)},
       {"logprobs", at::tensor(flat<float>(
                                   groups, [](const auto& c) -> auto& { return c.logprobs; }),
                               at::kFloat)}});
  const data::Json json = {{"groups", records},
                           {"lengths", lengths},
                           {"metrics", rollout.metrics},
                           {"seconds", rollout.seconds},
                           {"safetensors_crc32c", checksum(tensors)}};
  core::write_file_atomic(checkpoint / "pending.json",
                          json.dump(-1, ' ', false, data::Json::error_handler_t::replace) + "\n");
}

std::optional<Rollout> load_pending(const fs::path& checkpoint) {
  const fs::path path = checkpoint / "pending.json", tensors = checkpoint / "pending.safetensors";
  if (!fs::exists(path)) return std::nullopt;
  Rollout rollout;
  std::vector<data::ScoredGroup>& groups = rollout.groups;
  try {
    const auto json = data::Json::parse(core::read_file(path, "pending rollout"));
    if (checksum(tensors) != json.at("safetensors_crc32c").get<uint32_t>()) {
      core::throw_user("{}: damaged: remove this checkpoint to go on from the one before",
                       tensors.string());
    }
    const policy::SafetensorsFile file(tensors);
    const at::Tensor tokens = file.tensor("token_ids"), logprobs = file.tensor("logprobs");
    const auto* token = tokens.const_data_ptr<int32_t>();
    const auto* logprob = logprobs.const_data_ptr<float>();
    json.at("metrics").get_to(rollout.metrics);
    json.at("seconds").get_to(rollout.seconds);
    size_t next = 0;
    for (const data::Json& record : json.at("groups")) {
      groups.push_back(data::scored_group_from(record));
      for (data::Completion& completion : groups.back().group.completions) {
        const auto length = json.at("lengths").at(next++).get<int64_t>();
        completion.token_ids.assign(token, token + length);
        completion.logprobs.assign(logprob, logprob + length);
        token += length;
        logprob += length;
      }
    }
  } catch (const data::Json::exception& error) {
    core::throw_user("{}: damaged ({}): remove this checkpoint to go on from the one before",
                     path.string(), error.what());
  }
  return rollout;
}

}  // namespace ponder::recipes
