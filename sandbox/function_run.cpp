#include <cstring>
#include <nlohmann/json.hpp>

#include <fmt/format.h>

#include "core/error.h"
#include "core/json_text.h"
#include "sandbox/host.h"
#include "sandbox/supervise.h"

namespace ponder::sandbox {

namespace {

using Json = nlohmann::json;

// The judge writes it at the first byte of the first answer: a candidate that drips its answer into
// a judge until that breaks a limit must not look like a failure of the machine.
constexpr std::string_view kCalled = "called\n";

// What came through the judge's verdict channel.
struct Report {
  bool called = false;    // the candidate has begun to answer
  bool complete = false;  // the rest is set
  std::string outcome, reason;
  int64_t calls = 0;
  std::vector<bool> results;
};

Report read_report(std::string_view bytes) {
  Report report;
  if (bytes.substr(0, kCalled.size()) == kCalled) {
    report.called = true;
    bytes.remove_prefix(kCalled.size());
  }
  uint64_t size = 0;
  if (bytes.size() < sizeof size) return report;
  std::memcpy(&size, bytes.data(), sizeof size);
  bytes.remove_prefix(sizeof size);
  if (bytes.size() != size) return report;
  const Json json = core::parse_json_or_discard<Json>(bytes);
  if (!json.is_object()) return report;
  report.outcome = json.value("outcome", "");
  report.reason = json.value("reason", "");
  report.calls = json.value("calls", int64_t{0});
  for (const auto& item : json.value("results", Json::array()))
    report.results.push_back(item == true);
  report.complete = !report.outcome.empty();
  return report;
}

Limits judge_limits(const Limits& candidate) {
  Limits limits;
  limits.cpu_s = std::max(10.0, candidate.cpu_s);
  limits.wall_s = candidate.wall_s + 5;  // the candidate's own limit comes first
  limits.memory_bytes = std::max<uint64_t>(512ULL << 20, candidate.memory_bytes);
  return limits;
}

std::string tests_json(const FunctionTests& tests) {
  Json json = {{"entry_point", tests.entry_point},
               {"assert_tests", tests.assertions},
               {"setup", tests.setup}};
  if (tests.assertions.empty()) {
    json["io_pairs"] = core::parse_json_or_discard<Json>(tests.pairs_json);
    if (!json["io_pairs"].is_array() || json["io_pairs"].empty())
      core::throw_user(
          "[sandbox] function tests need assertions, or pairs: [[[arguments...], expected], ...]");
    for (const auto& pair : json["io_pairs"])
      if (!pair.is_array() || pair.size() != 2 || !pair[0].is_array())
        core::throw_user("[sandbox] each pair must be [[arguments...], expected], found {}",
                         pair.dump().substr(0, 80));
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// The candidate's own end decides when it broke a limit or died; else what the tests saw.
void decide(const Outcome& judge, const Report& report, TestResult& result) {
  const auto say = [&](Verdict verdict, std::string reason) {
    result.verdict = verdict;
    result.reason = std::move(reason);
  };
  const bool limit =
      result.verdict != Verdict::kAccepted && result.verdict != Verdict::kRuntimeError;
  if (limit) return;
  if (!judge.started)
    return say(Verdict::kInternalError, "the box of the tests failed: " + judge.error);
  if (report.complete && report.outcome == "pass" && report.called && report.calls > 0)
    return say(Verdict::kAccepted, "");
  if (report.complete && report.outcome == "wrong")
    return say(Verdict::kWrongAnswer, report.reason);
  const bool ended_badly = result.verdict == Verdict::kRuntimeError && result.reason != "stopped";
  if (report.complete && report.outcome == "gone")
    return say(Verdict::kRuntimeError, ended_badly ? result.reason : report.reason);
  if (report.complete && report.calls > 0)
    return say(Verdict::kRuntimeError, "the tests failed: " + report.reason);
  if (report.complete)
    return say(Verdict::kInternalError, "the tests cannot run: " + report.reason);
  // The tests were cut short. Once the candidate has answered, it may have caused that.
  if (!report.called && !ended_badly)
    return say(Verdict::kInternalError, "the box of the tests ended without a verdict");
  if (judge.stop == Stop::kCpu || judge.stop == Stop::kWall)
    return say(Verdict::kTimeLimit, "the tests did not end");
  say(Verdict::kRuntimeError, ended_badly ? result.reason : "the tests ended without a verdict");
}

Result run_once(Host& host, Slot& slot, const Request& request, const std::string& tests) {
  const Fd source = sealed_file("source", request.code), test_file = sealed_file("tests", tests);
  Worker& box = host.warm_box(slot);
  Worker& judge_box = host.judge(slot);
  Channel calls = make_blocking_pipe(), replies = make_blocking_pipe();
  RunSpec candidate_spec, judge_spec;
  candidate_spec.kind = RunKind::kCandidate;
  candidate_spec.file_names = {"main.py"};
  judge_spec.kind = RunKind::kJudge;
  judge_spec.file_names = {"tests.json"};
  ActiveRun::Inputs candidate_inputs, judge_inputs;
  candidate_inputs.files = {source.get()};
  candidate_inputs.extra = {calls.read.get(), replies.write.get()};
  judge_inputs.files = {test_file.get()};
  judge_inputs.extra = {calls.write.get(), replies.read.get()};
  judge_inputs.verdict_channel = true;
  const Limits limits = judge_limits(request.limits);
  ActiveRun candidate(box, candidate_spec, candidate_inputs, request.limits, true);
  ActiveRun judge(judge_box, judge_spec, judge_inputs, limits, true);
  // Each side must see the other's end, so no copy may stay here.
  for (Fd* fd : {&calls.read, &calls.write, &replies.read, &replies.write}) fd->reset();
  ActiveRun* const runs[] = {&candidate, &judge};
  supervise(runs);
  Outcome candidate_outcome = candidate.take(), judge_outcome = judge.take();
  const Report report = read_report(judge_outcome.extra);
  Result result;
  static_cast<TestResult&>(result) = classify(std::move(candidate_outcome), request.limits, false);
  decide(judge_outcome, report, result);
  for (const bool same : report.results) {
    result.tests.emplace_back();
    result.tests.back().verdict = same ? Verdict::kAccepted : Verdict::kWrongAnswer;
  }
  result.passed = result.verdict == Verdict::kAccepted;
  return result;
}

}  // namespace

Result run_function(Host& host, Slot& slot, const Request& request) {
  if (request.language != "python")
    core::throw_user(
        "[sandbox] function tests are for python, found '{}'; give stdin tests instead",
        request.language);
  if (request.function->entry_point.empty())
    core::throw_user("[sandbox] function tests need an entry_point");
  const std::string tests = tests_json(*request.function);
  Result result = run_once(host, slot, request, tests);
  if (result.verdict != Verdict::kInternalError) return result;
  slot.box.reset();
  slot.judge.reset();
  return run_once(host, slot, request, tests);
}

}  // namespace ponder::sandbox
