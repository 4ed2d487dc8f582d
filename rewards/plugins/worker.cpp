#include "rewards/plugins/worker.h"

#include <array>
#include <cmath>

#include "core/error.h"
#include "core/json_text.h"
#include "rewards/text.h"

namespace ponder::rewards {
namespace {

using data::Json;
using data::ScoreStatus;

constexpr double kRewardMax = 1e6;
constexpr std::chrono::seconds kStartDeadline{60};
constexpr size_t kReplyBytesMax = 1 << 16;  // for each record; reasons are short

const Json* field(const Json& reply, const char* key) {
  const auto found = reply.find(key);
  return found == reply.end() || found->is_null() ? nullptr : &*found;
}

ScoreStatus status_of(const Json& reply, ScoreStatus otherwise) {
  const Json* name = field(reply, "status");
  if (name == nullptr) return otherwise;
  for (const auto status :
       {ScoreStatus::kOk, ScoreStatus::kWrong, ScoreStatus::kUnparsed, ScoreStatus::kRefused}) {
    if (*name == data::name_of(status)) return status;
  }
  return otherwise;
}

// What a person wants to see of a worker's stderr: the end of its last line.
std::string last_line(std::string_view talk) {
  talk = text::trimmed(talk);
  const size_t begin = talk.rfind('\n');
  return text::shortened(begin == std::string_view::npos ? talk : talk.substr(begin + 1), 200);
}

}  // namespace

void bind(core::Binder& b, PluginOptions& o) {
  b.field("deadline_s", o.deadline_s, "seconds that one call of the plugin may take",
          {.low = 0.001});
  b.field("memory_mb", o.memory_mb, "address space of each worker process; 0: no cap", {.low = 0});
  b.field("workers", o.workers, "worker processes", {.low = 1, .high = 256});
  b.field("batch_size", o.batch_size, "completions in one call, at most", {.low = 1, .high = 4096});
}

Judgement judgement_from(const Json& reply) {
  if (!reply.is_object())
    return {std::nullopt, ScoreStatus::kCrashed, "the reply is no JSON object"};
  Judgement out;
  if (const Json* error = field(reply, "error")) {
    out.reason = error->is_string() ? error->get<std::string>() : error->dump();
    return out;
  }
  if (!reply.contains("reward"))
    return {std::nullopt, ScoreStatus::kCrashed, "the reply has no \"reward\""};
  if (const Json* reason = field(reply, "reason"); reason != nullptr && reason->is_string())
    out.reason = *reason;
  const Json* reward = field(reply, "reward");
  if (reward == nullptr) {
    out.status = status_of(reply, ScoreStatus::kRefused);
    out.abstains = field(reply, "status") == nullptr;
    if (out.reason.empty()) out.reason = "the plugin gave no reward (None)";
    return out;
  }
  if (!reward->is_number())
    return {std::nullopt, ScoreStatus::kCrashed,
            "the reward is no number: " + text::shortened(reward->dump())};
  const double value = *reward;
  if (!std::isfinite(value) || std::abs(value) > kRewardMax) {
    return {std::nullopt, ScoreStatus::kCrashed,
            fmt::format("the reward {} is outside ±{}", value, kRewardMax)};
  }
  out.value = value;
  out.status = status_of(reply, value > 0 ? ScoreStatus::kOk : ScoreStatus::kWrong);
  if (out.reason.empty()) out.reason = fmt::format("the plugin gave {}", value);
  if (const Json* parts = field(reply, "parts"); parts != nullptr && parts->is_object()) {
    for (const auto& [name, part] : parts->items()) {
      if (part.is_number() && std::isfinite(part.get<double>())) out.parts[name] = part;
    }
  }
  return out;
}

Worker::Worker(WorkerCommand command, Protocol protocol, const PluginOptions& options)
    : command_(std::move(command)), protocol_(protocol), options_(options) {
  command_.memory_bytes = static_cast<uint64_t>(options.memory_mb) << 20;
}

std::string Worker::start() {
  if (child_ != nullptr && child_->quiet()) return {};
  child_.reset();
  try {
    child_ = std::make_unique<Child>(command_);
  } catch (const core::RunError& error) {
    return error.what();
  }
  ++starts_;
  if (protocol_ == Protocol::kLines) return {};
  const auto greeting = child_->exchange("", 1, kStartDeadline, kReplyBytesMax);
  if (greeting.end != Child::End::kDone) return failed(greeting).failure;
  const auto hello = core::parse_json_or_discard<Json>(greeting.lines[0]);
  if (hello.is_object() && field(hello, "ready") != nullptr) return {};
  child_.reset();
  return judgement_from(hello).reason;
}

size_t Worker::batch_limit() const {
  return protocol_ == Protocol::kList || echoes_index_ ? static_cast<size_t>(options_.batch_size)
                                                       : 1;
}

std::string Worker::request(std::span<const std::string* const> records) {
  first_index_ = next_index_;
  const bool list = protocol_ == Protocol::kList;
  std::string out;
  for (const std::string* record : records) {
    if (list) out += out.empty() ? '[' : ',';
    out += fmt::format("{{\"index\":{}{}", next_index_++, *record == "{}" ? "" : ",");
    out.append(*record, 1);
    if (!list) out += '\n';
  }
  return list ? out + "]\n" : out;
}

Attempt Worker::failed(const Child::Exchange& exchange) {
  Attempt out;
  if (exchange.end == Child::End::kTimeout) {
    out.status = ScoreStatus::kTimeout;
    out.failure = fmt::format("no reply within {} s, killed", options_.deadline_s);
  } else if (exchange.end == Child::End::kFlood) {
    out.failure = "wrote more than one reply a record, killed";
  } else {
    out.failure = "the worker ended: ";
    const std::string how = child_->ending();
    out.failure += how.empty() ? "it closed its output" : how;
    if (const std::string line = last_line(child_->talk()); !line.empty())
      out.failure += ": " + line;
  }
  child_.reset();
  return out;
}

Attempt Worker::garbage(const std::string& what) {
  child_.reset();
  Attempt out;
  out.failure = what;
  return out;
}

Attempt Worker::judge(std::span<const std::string* const> records) {
  if (const std::string problem = start(); !problem.empty())
    return garbage("the worker does not start: " + problem);
  const bool list = protocol_ == Protocol::kList;
  const auto exchange = child_->exchange(request(records), list ? 1 : records.size(),
                                         std::chrono::duration<double>(options_.deadline_s),
                                         kReplyBytesMax * (records.size() + 1));
  if (exchange.end != Child::End::kDone) return failed(exchange);
  std::vector<Json> replies;
  for (const std::string& line : exchange.lines) {
    if (core::nests_deeper(line)) return garbage("the reply is nested too deep");
    replies.push_back(Json::parse(line, nullptr, false));
    if (replies.back().is_discarded())
      return garbage("the reply is no JSON: " + text::shortened(line));
  }
  if (list) {
    if (const Json& reply = replies[0];
        reply.is_object()) {  // the call failed, the process is well
      Attempt out;
      out.failure = judgement_from(reply).reason;
      return out;
    }
    replies = std::vector<Json>(replies[0].begin(), replies[0].end());
  }
  return read_replies(replies, records.size());
}

Attempt Worker::read_replies(const std::vector<Json>& replies, size_t count) {
  if (replies.size() != count)
    return garbage(fmt::format("{} replies for {} records", replies.size(), count));
  std::vector<const Json*> by_index(count);
  const bool echoes = replies[0].is_object() && field(replies[0], "index") != nullptr;
  for (size_t i = 0; i < count; ++i) {
    const Json* index = replies[i].is_object() ? field(replies[i], "index") : nullptr;
    if (!echoes && count == 1) {
      by_index[0] = &replies[0];
      continue;
    }
    if (index == nullptr || !index->is_number_integer())
      return garbage("a reply does not name its index");
    const int64_t at = index->get<int64_t>() - first_index_;
    if (at < 0 || at >= static_cast<int64_t>(count) ||
        by_index[static_cast<size_t>(at)] != nullptr) {
      return garbage(fmt::format(
          "a reply names index {}, which was not asked for or answered before", index->dump()));
    }
    by_index[static_cast<size_t>(at)] = &replies[i];
  }
  echoes_index_ = echoes;
  Attempt out;
  for (const Json* reply : by_index) out.judgements.push_back(judgement_from(*reply));
  return out;
}

}  // namespace ponder::rewards
