#include "recipes/workers.h"

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <cstring>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include "core/metrics.h"
#include "data/records_json.h"
#include "recipes/completion_columns.h"

namespace ponder::recipes {
namespace {

using data::Json;

template <typename Value>
Json::binary_t to_binary(const std::vector<Value>& values) {
  std::vector<uint8_t> bytes(values.size() * sizeof(Value));
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return Json::binary_t(std::move(bytes));
}

template <typename Value>
void from_binary(const Json& json, std::vector<Value>& values) {
  const Json::binary_t& bytes = json.get_binary();
  values.resize(bytes.size() / sizeof(Value));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
}

// Everything but the prompt. CBOR keeps doubles and strings as they are, whatever they hold.
Json to_json_with_tokens(data::ScoredGroup scored) {
  scored.group.prompt = {};
  Json json = data::to_json(scored);
  Json& columns = json["columns"] = Json::object();
  for_each_column([&](const auto& column) {
    Json& own = columns[column.name] = Json::array();
    for (const data::Completion& completion : scored.group.completions)
      own.push_back(to_binary(completion.*column.field));
  });
  return json;
}

data::ScoredGroup from_json_with_tokens(const Json& json, const data::Prompt& prompt) {
  data::ScoredGroup scored = data::scored_group_from(json);
  scored.group.prompt = prompt;
  for_each_column([&](const auto& column) {
    const Json& own = json.at("columns").at(column.name);
    for (size_t i = 0; i < own.size(); ++i)
      from_binary(own[i], scored.group.completions[i].*column.field);
  });
  return scored;
}

double reduced(const std::string& name, const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  if (name.starts_with("perf/rewards/")) return sum;
  if (name.starts_with("perf/memory")) return *std::max_element(values.begin(), values.end());
  return sum / static_cast<double>(values.size());
}

// "host:0,1,5": the cores that this process may use, and how many they are.
std::pair<std::string, int> own_cores() {
  char host[HOST_NAME_MAX + 1] = {};
  ::gethostname(host, HOST_NAME_MAX);
  std::string text = std::string(host) + ":";
  cpu_set_t set;
  CPU_ZERO(&set);
  ::sched_getaffinity(0, sizeof set, &set);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) text += fmt::format("{},", cpu);
  }
  return {text, CPU_COUNT(&set)};
}

}  // namespace

void share_cores(distributed::Group& group) {
  if (group.size() == 1 || std::getenv("OMP_NUM_THREADS") != nullptr) return;
  const auto [own, count] = own_cores();
  const std::vector<std::string> all = group.all_gather(own, "the cores");
  const auto sharers = static_cast<int>(std::count(all.begin(), all.end(), own));
  at::set_num_threads(std::max(1, count / sharers));
}

std::vector<size_t> own_places(const distributed::Group& group, size_t count) {
  std::vector<size_t> out;
  for (auto place = static_cast<size_t>(group.rank()); place < count;
       place += static_cast<size_t>(group.size()))
    out.push_back(place);
  return out;
}

std::vector<data::ScoredGroup> gather_groups(
    distributed::Group& group, std::vector<data::ScoredGroup> own, size_t count,
    const std::function<const data::Prompt&(size_t place)>& prompt_of) {
  if (group.size() == 1) return own;
  Json records = Json::array();
  for (data::ScoredGroup& scored : own) records.push_back(to_json_with_tokens(std::move(scored)));
  const std::vector<Json> all = gather_json(group, records, "the sampled groups");
  std::vector<data::ScoredGroup> out;
  const auto workers = static_cast<size_t>(group.size());
  for (size_t place = 0; place < count; ++place)
    out.push_back(
        from_json_with_tokens(all[place % workers].at(place / workers), prompt_of(place)));
  return out;
}

grpo::TrainBatch own_share(const distributed::Group& group, const grpo::TrainBatch& batch) {
  if (group.size() == 1) return batch;
  return grpo::select(batch, grpo::balance(batch, group.size())[static_cast<size_t>(group.rank())]);
}

at::Tensor gather_tokens(distributed::Group& group, const grpo::TrainBatch& batch,
                         const std::function<at::Tensor(const grpo::TrainBatch& share)>& compute) {
  if (group.size() == 1) return compute(batch);
  const auto sequences = grpo::balance(batch, group.size())[static_cast<size_t>(group.rank())];
  at::Tensor out = at::zeros({batch.num_tokens()}, at::kFloat);
  if (!sequences.empty()) {
    const grpo::TrainBatch share = grpo::select(batch, sequences);
    const at::Tensor values = compute(share);
    for (size_t i = 0; i < sequences.size(); ++i) {
      const auto s = static_cast<size_t>(sequences[i]);
      const int64_t length = batch.cu_seqlens[s + 1] - batch.cu_seqlens[s];
      out.narrow(0, batch.cu_seqlens[s], length)
          .copy_(values.narrow(0, share.cu_seqlens[i], length));
    }
  }
  group.all_reduce_sum(out, "log-probabilities");
  return out;
}

std::vector<Json> gather_json(distributed::Group& group, const Json& own, std::string_view what) {
  if (group.size() == 1) return {own};
  const std::vector<uint8_t> bytes = Json::to_cbor(own);
  std::vector<Json> out;
  for (const std::string& text :
       group.all_gather({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, what))
    out.push_back(Json::from_cbor(text));
  return out;
}

Metrics reduce_metrics(distributed::Group& group, const Metrics& own) {
  if (group.size() == 1) return own;
  Metrics machine, out = own;
  for (const auto& [name, value] : own) {
    if (core::depends_on_machine(name)) machine[name] = value;
  }
  std::map<std::string, std::vector<double>> all;
  for (const Json& json : gather_json(group, machine, "the step's times")) {
    for (const auto& [name, value] : json.items()) all[name].push_back(value.get<double>());
  }
  for (const auto& [name, values] : all) {
    constexpr std::string_view kTiming = "timing_s/";
    out[name] = reduced(name, values);
    if (!name.starts_with(kTiming)) continue;
    const auto [min, max] = std::minmax_element(values.begin(), values.end());
    out[fmt::format("{}min/{}", kTiming, name.substr(kTiming.size()))] = *min;
    out[fmt::format("{}max/{}", kTiming, name.substr(kTiming.size()))] = *max;
  }
  return out;
}

Metrics traffic_metrics(const distributed::Group& group, distributed::Traffic& before) {
  if (group.size() == 1) return {};
  const distributed::Traffic now = group.traffic();
  Metrics out = {
      {"perf/communication_s", now.seconds - before.seconds},
      {"perf/communication_under_way_s", now.under_way_seconds - before.under_way_seconds},
      {"perf/communication_bytes", static_cast<double>(now.bytes - before.bytes)}};
  before = now;
  return out;
}

}  // namespace ponder::recipes
