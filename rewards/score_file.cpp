#include "rewards/score_file.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <thread>

#include "core/error.h"
#include "core/json_text.h"
#include "rewards/text.h"

namespace ponder::rewards {
namespace {

using data::Json;
using data::ScoreStatus;
using Ordered = nlohmann::ordered_json;

constexpr size_t kBlock = 32;     // lines that a thread takes at once
constexpr size_t kWindow = 2048;  // lines in memory

// Text, or the contents of a list of messages, one behind the other.
std::string text_of(const Json& value, const char* key, const std::string& where) {
  if (value.is_string()) return value;
  std::string out;
  bool messages = value.is_array();
  for (const Json& message : value) {
    messages = messages && message.is_object() && message.contains("content") &&
               message["content"].is_string();
    if (!messages) break;
    out += (out.empty() ? "" : "\n") + message["content"].get<std::string>();
  }
  if (!messages)
    core::throw_user("{}: {}: expected a string or a list of messages, found {}", where, key,
                     text::shortened(value.dump()));
  return out;
}

data::FinishReason finish_reason(const Json& object, const std::string& where) {
  const Json name = object.value("finish_reason", Json("stop"));
  for (const auto reason :
       {data::FinishReason::kStop, data::FinishReason::kLength, data::FinishReason::kAborted}) {
    if (name == data::name_of(reason)) return reason;
  }
  core::throw_user("{}: finish_reason: expected \"stop\", \"length\" or \"aborted\", found {}",
                   where, name.dump());
}

Ordered as_json(const std::optional<double>& value) {
  return value ? Ordered(*value) : Ordered(nullptr);
}

std::string line_of(const Verdict& verdict, bool explain) {
  const data::Score& score = verdict.score;
  Ordered line = {{"reward", as_json(score.value)},
                  {"status", data::name_of(score.status)},
                  {"parts", Ordered::object()},
                  {"reason", score.reason}};
  for (const auto& [name, value] : score.parts) line["parts"][name] = value;
  if (explain) {
    for (const auto& [name, judgement] : verdict.judgements) {
      line["explain"][name] = {{"reward", as_json(judgement.value)},
                               {"status", data::name_of(judgement.status)},
                               {"reason", judgement.reason}};
    }
  }
  return line.dump(-1, ' ', false, Ordered::error_handler_t::replace) + "\n";
}

std::vector<Verdict> judge_in_parallel(const Scorer& scorer, const std::vector<ScoreLine>& lines) {
  std::vector<Verdict> out(lines.size());
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t begin; (begin = next.fetch_add(kBlock)) < lines.size();) {
      std::vector<Sample> samples;
      for (size_t i = begin; i < std::min(begin + kBlock, lines.size()); ++i)
        samples.push_back({&lines[i].prompt, &lines[i].completion});
      std::vector<Verdict> verdicts = scorer.judge_all(samples);
      std::move(verdicts.begin(), verdicts.end(), out.begin() + static_cast<std::ptrdiff_t>(begin));
    }
  };
  std::vector<std::jthread> threads;
  for (unsigned i = 1; i < std::max(1u, std::thread::hardware_concurrency()); ++i)
    threads.emplace_back(work);
  work();
  threads.clear();
  return out;
}

void write_window(const std::vector<Verdict>& verdicts, bool explain, std::FILE* out,
                  ScoreSummary& summary, FailureGuard& failures) {
  std::string text;
  for (const Verdict& verdict : verdicts) {
    text += line_of(verdict, explain);
    ++summary.count;
    ++summary.statuses[data::name_of(verdict.score.status)];
    summary.with_value += verdict.score.value ? 1 : 0;
    summary.sum += verdict.score.value.value_or(0);
    failures.add(verdict.score);
  }
  if (std::fwrite(text.data(), 1, text.size(), out) != text.size() || std::fflush(out) != 0)
    core::throw_run("cannot write the scores");
  failures.check();
}

}  // namespace

ScoreLine parse_score_line(const std::string& line, const std::string& where) {
  auto object = core::parse_json<Json>(line, where);
  if (!object.is_object())
    core::throw_user("{}: expected a JSON object, found {}", where, object.type_name());
  if (!object.contains("completion")) core::throw_user("{}: the key completion is missing", where);
  ScoreLine out;
  out.completion.text = text_of(object["completion"], "completion", where);
  out.completion.finish_reason = finish_reason(object, where);
  if (object.contains("prompt")) out.prompt.text = text_of(object["prompt"], "prompt", where);
  if (object.contains("id"))
    out.prompt.id =
        object["id"].is_string() ? object["id"].get<std::string>() : object["id"].dump();
  for (const char* key : {"answer", "solution"}) {
    if (out.prompt.answer.is_null() && object.contains(key)) out.prompt.answer = object[key];
  }
  try {
    if (object.contains("rewards"))
      out.prompt.rewards = object["rewards"].get<std::vector<std::string>>();
    if (object.contains("tokens"))
      out.completion.token_ids = object["tokens"].get<std::vector<int32_t>>();
  } catch (const Json::exception& error) {
    core::throw_user("{}: rewards or tokens: expected a list of names and a list of integers: {}",
                     where, error.what());
  }
  const bool conversation = object.contains("prompt") && object["prompt"].is_array();
  for (const char* key :
       {"completion", "id", "answer", "rewards", "finish_reason", "tokens", "logprobs"})
    object.erase(key);
  if (!conversation) object.erase("prompt");
  out.prompt.columns = std::move(object);
  return out;
}

std::string ScoreSummary::text() const {
  std::string out = fmt::format("{} completions in {:.2f} s ({:.0f} a second)", count, seconds,
                                static_cast<double>(count) / std::max(seconds, 1e-9));
  out += with_value > 0 ? fmt::format(", mean reward {:.4f}", sum / static_cast<double>(with_value))
                        : ", no reward";
  if (with_value < count)
    out += fmt::format(" of {} (the other {} are null)", with_value, count - with_value);
  out += "\nstatus:";
  for (const auto& [name, number] : statuses) out += fmt::format(" {} {}", name, number);
  for (const auto& [name, value] : metrics) out += fmt::format("\n{} {:.6g}", name, value);
  return out + "\n";
}

ScoreSummary score_file(const ScoreRequest& request, std::FILE* out) {
  const Scorer scorer(request.rewards, request.load_model);
  std::ifstream file(request.input == "-" ? "/dev/stdin" : request.input);
  if (!file || std::filesystem::is_directory(request.input))
    core::throw_user("cannot read the input {}: no such file or no right to read it",
                     request.input.string());
  ScoreSummary summary;
  FailureGuard failures(request.rewards.max_failure_share);
  const auto begin = std::chrono::steady_clock::now();
  std::vector<ScoreLine> window;
  const auto flush = [&] {
    write_window(judge_in_parallel(scorer, window), request.explain, out, summary, failures);
    window.clear();
  };
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    window.push_back(parse_score_line(line, fmt::format("{}:{}", request.input.string(), number)));
    if (window.size() == kWindow) flush();
  }
  flush();
  if (summary.count == 0)
    core::throw_user("the input {} is empty: expected one JSON object with \"completion\" a line",
                     request.input.string());
  summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  summary.metrics = scorer.metrics();
  return summary;
}

}  // namespace ponder::rewards
