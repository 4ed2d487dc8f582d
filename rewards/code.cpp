#include "rewards/code.h"

#include <algorithm>
#include <stdexcept>

#include "core/json_text.h"
#include "rewards/fence.h"
#include "rewards/prompt_code.h"
#include "rewards/text.h"

namespace ponder::rewards {
namespace {

using data::Json;
using data::ScoreStatus;

const std::vector<std::string>& labels_of(const std::string& language) {
  static const std::vector<std::string> python = {"python", "py"},
                                        cpp = {"cpp", "c++", "cc", "cxx"};
  static const std::vector<std::string> none;
  return language == "python" ? python : language == "cpp" ? cpp : none;
}

std::string language_of(const Json& answer) {
  const std::string name = text::lower(answer.value("language", "python"));
  for (const char* known : {"python", "cpp"}) {
    const auto& labels = labels_of(known);
    if (std::find(labels.begin(), labels.end(), name) != labels.end() ||
        name == std::string(known) + "3")
      return known;
  }
  return name;
}

// Lines where a data set gives a list of them.
std::string lines_of(const Json& value) {
  if (value.is_string()) return value;
  if (!value.is_array())
    throw std::invalid_argument("an input or output is neither text nor a list of lines: " +
                                text::shortened(value.dump()));
  std::string out;
  for (const Json& line : value)
    out += (out.empty() ? "" : "\n") + (line.is_string() ? line.get<std::string>() : line.dump());
  return out;
}

// A test case of a function: arguments and result as JSON, written as such or as text, one argument
// a line.
Json argument_list(const Json& input) {
  if (!input.is_string()) return input.is_array() ? input : Json::array({input});
  const Json whole = core::parse_json_or_discard<Json>(input.get<std::string>());
  Json out = Json::array();
  std::string_view rest = input.get_ref<const std::string&>();
  for (bool more = true; more;) {
    const size_t end = rest.find('\n');
    more = end != std::string_view::npos;
    const Json line = core::parse_json_or_discard<Json>(rest.substr(0, end));
    if (line.is_discarded())
      return whole.is_array()
                 ? whole
                 : throw std::invalid_argument("the arguments of a function test are no JSON");
    out.push_back(line);
    if (more) rest.remove_prefix(end + 1);
  }
  return out;
}

Json result_value(const Json& output) {
  const Json parsed =
      output.is_string() ? core::parse_json_or_discard<Json>(output.get<std::string>()) : output;
  return parsed.is_discarded() ? output : parsed;
}

void add_pairs(const std::vector<std::pair<Json, Json>>& tests, const std::string& function,
               CodeJob& job) {
  if (function.empty()) {
    for (const auto& [input, output] : tests)
      job.cases.push_back({lines_of(input), lines_of(output)});
    return;
  }
  job.entry_point = function;
  Json pairs = Json::array();
  for (const auto& [input, output] : tests)
    pairs.push_back({argument_list(input), result_value(output)});
  job.pairs_json = pairs.dump();
}

// A member that some data sets write as JSON text.
Json unpacked(const Json& value) {
  if (!value.is_string()) return value;
  auto json = core::parse_json_or_discard<Json>(value.get<std::string>());
  if (json.is_discarded())
    throw std::invalid_argument("expected JSON, found " + text::shortened(value.dump()));
  return json;
}

Json test_cases_of(const Json& answer) {
  for (const char* key : {"test_cases", "public_test_cases"}) {
    if (answer.contains(key)) return unpacked(answer[key]);
  }
  return nullptr;
}

std::vector<std::pair<Json, Json>> tests_of(const Json& answer) {
  std::vector<std::pair<Json, Json>> out;
  if (const Json cases = test_cases_of(answer); !cases.is_null()) {
    for (const Json& test : cases) out.emplace_back(test.at("input"), test.at("output"));
  } else if (answer.contains("inputs")) {
    const Json &inputs = answer["inputs"], &outputs = answer.at("outputs");
    if (inputs.size() != outputs.size())
      throw std::invalid_argument("inputs and outputs differ in number");
    for (size_t i = 0; i < inputs.size(); ++i) out.emplace_back(inputs[i], outputs[i]);
  }
  return out;
}

std::string function_of(const Json& answer) {
  std::vector<Json> places = {answer};
  if (answer.contains("metadata")) places.push_back(unpacked(answer["metadata"]));
  if (const Json cases = test_cases_of(answer); !cases.empty()) places.push_back(cases[0]);
  for (const Json& place : places) {
    for (const char* key : {"fn_name", "func_name", "entry_point"}) {
      if (place.is_object() && place.contains(key) && place[key].is_string()) return place[key];
    }
  }
  return {};
}

CodeJob read_job(const Json& answer, std::string_view prompt) {
  CodeJob job;
  job.language = language_of(answer);
  job.limits = answer.value("limits", Json::object());
  for (const char* key : {"tests", "test_list", "test"}) {
    if (!answer.contains(key) || !job.assertions.empty()) continue;
    job.assertions = lines_of(answer[key]);
    job.entry_point = function_of(answer);
    for (const char* setup : {"test_setup_code", "test_imports"}) {
      if (answer.contains(setup)) job.assertions = lines_of(answer[setup]) + "\n" + job.assertions;
    }
  }
  if (!job.assertions.empty()) {
    if (job.entry_point.empty() && job.assertions.find("def check(") != std::string::npos)
      throw std::invalid_argument("check(candidate) needs an entry_point");
    // MBPP names none: its assertions call the function by its own name.
    if (job.entry_point.empty()) job.entry_point = "candidate";
    if (answer.contains("setup")) {
      job.setup = lines_of(answer["setup"]);
    } else {
      job.setup = job.helpers = prompt_helpers(prompt, job.entry_point, job.assertions);
    }
    return job;
  }
  const auto tests = tests_of(answer);
  if (tests.empty())
    throw std::invalid_argument("no tests: expected test_cases, tests or inputs and outputs");
  add_pairs(tests, function_of(answer), job);
  return job;
}

}  // namespace

CodeJob code_job(const Json& given, std::string_view prompt) {
  const Json answer =
      given.is_string() ? core::parse_json_or_discard<Json>(given.get<std::string>()) : given;
  if (!answer.is_object())
    throw std::invalid_argument("expected an object with tests, found " +
                                text::shortened(given.dump()));
  try {
    return read_job(answer, prompt);
  } catch (const Json::exception& error) {
    throw std::invalid_argument(error.what());
  }
}

bool same_tokens(std::string_view got, std::string_view expected) {
  return text::words(got) == text::words(expected);
}

namespace {

std::optional<std::string> program_in(const CodeJob& job, const data::Prompt& prompt,
                                      const data::Completion& completion) {
  const std::string rendered = text::rendered(prompt, completion);
  if (auto code = last_fenced(rendered, labels_of(job.language))) return code;
  const std::string_view visible = text::behind_reasoning(rendered);
  if (visible.find("```") != std::string_view::npos ||
      visible.find("<think>") != std::string_view::npos || text::trimmed(visible).empty())
    return std::nullopt;
  const bool continues =
      defines(prompt.text, job.entry_point) && !defines(visible, job.entry_point);
  return continues ? prompt.text + completion.text : std::string(visible);
}

}  // namespace

void bind(core::Binder& b, CodeOptions& o) {
  b.field("fraction", o.fraction, "the share of tests that pass, else all or nothing");
}

CodeReward::CodeReward(const CodeOptions& options, std::shared_ptr<const CodeRunner> runner)
    : options_(options), runner_(std::move(runner)) {}

const Json& CodeReward::tests_of(const data::Prompt& prompt) {
  const auto found = prompt.columns.find("verification_info");
  return prompt.answer.is_null() && found != prompt.columns.end() ? *found : prompt.answer;
}

std::string CodeReward::problem_with(const data::Prompt& prompt) const {
  try {
    const std::string problem = runner_->problem_with(code_job(tests_of(prompt)));
    return problem.empty() ? problem : "code: the answer: " + problem;
  } catch (const std::invalid_argument& error) {
    return std::string("code: the answer: ") + error.what();
  }
}

Judgement CodeReward::judge(const data::Prompt& prompt, const data::Completion& completion) const {
  CodeJob job;
  try {
    job = code_job(tests_of(prompt), prompt.text);
  } catch (const std::invalid_argument& error) {
    return refused(std::string("code: the answer: ") + error.what());
  }
  if (completion.finish_reason != data::FinishReason::kStop)
    return {0.0, ScoreStatus::kUnparsed, "cut before its end: no program"};
  const auto code = program_in(job, prompt, completion);
  if (!code) return {0.0, ScoreStatus::kUnparsed, "no closed code block of " + job.language};
  job.code = *code;
  if (const std::string problem = runner_->problem_with(job); !problem.empty())
    return refused("code: the answer: " + problem);
  CodeResult result = run(job);
  const bool passed_first = !result.tests.empty() && result.tests[0].verdict == "AC";
  if (passed_first && redefines(job.code, job.helpers)) {
    job.setup.clear();
    result = run(job);
  }
  if (result.runner_failed)
    return {std::nullopt, ScoreStatus::kCrashed, "the sandbox failed: " + result.reason};
  return verdict_of(job, result);
}

// A failure of the runner is tried once more.
CodeResult CodeReward::run(const CodeJob& job) const {
  CodeResult result = runner_->run(job, !options_.fraction);
  return result.runner_failed ? runner_->run(job, !options_.fraction) : result;
}

Judgement CodeReward::verdict_of(const CodeJob& job, CodeResult& result) const {
  size_t passed = 0;
  std::string verdict;
  for (size_t i = 0; i < result.tests.size(); ++i) {
    auto& test = result.tests[i];
    if (i < job.cases.size() && test.verdict == "AC" &&
        !same_tokens(test.output, job.cases[i].output))
      test.verdict = "WA";
    passed += test.verdict == "AC" ? 1 : 0;
    if (verdict.empty() && test.verdict != "AC")
      verdict = fmt::format("test {}: {}", i + 1, test.verdict);
  }
  const size_t total = job.cases.empty() ? result.tests.size() : job.cases.size();
  const bool all = total > 0 && passed == total;
  const double share = total == 0 ? 0.0 : static_cast<double>(passed) / static_cast<double>(total);
  return {
      options_.fraction ? share : (all ? 1.0 : 0.0), all ? ScoreStatus::kOk : ScoreStatus::kWrong,
      fmt::format("{} of {} tests pass{}", passed, total, verdict.empty() ? "" : "; " + verdict)};
}

}  // namespace ponder::rewards
