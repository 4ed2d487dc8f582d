#include "sandbox/request_json.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/spelling.h"

namespace ponder::sandbox {

namespace {

using Json = nlohmann::json;

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const Json* find(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found == json.end() || found->is_null() ? nullptr : &*found;
}

std::string text_of(const Json& json, const char* key) {
  const Json* value = find(json, key);
  if (value == nullptr) return "";
  if (!value->is_string())
    core::throw_user("[sandbox request] {}: expected text, found {}", key, value->type_name());
  return value->get<std::string>();
}

// `key` as text, or `key`_b64 as base64.
std::optional<std::string> bytes_of(const Json& json, const std::string& key) {
  const std::string encoded = key + "_b64";
  if (find(json, encoded.c_str()) != nullptr) return base64_decode(text_of(json, encoded.c_str()));
  if (find(json, key.c_str()) != nullptr) return text_of(json, key.c_str());
  return std::nullopt;
}

void check_keys(const Json& json, const char* what, const std::vector<std::string>& known) {
  if (!json.is_object())
    core::throw_user("[sandbox request] {}: expected an object, found {}", what, json.type_name());
  for (const auto& [key, value] : json.items())
    if (std::find(known.begin(), known.end(), key) == known.end())
      core::throw_user("[sandbox request] {}: unknown key '{}'{}", what, key,
                       core::suggestion(key, known));
}

double positive(const Json& value, const std::string& key, double most) {
  const double number = value.is_number() ? value.get<double>() : std::nan("");
  if (!(number > 0 && number <= most))
    core::throw_user(
        "[sandbox request] limits.{}: expected a number above 0 and up to {}, found {}", key, most,
        value.dump());
  return number;
}

Limits limits_from_json(const Json& json) {
  check_keys(json, "limits",
             {"cpu_s", "wall_s", "mem_mb", "pids", "output_kb", "file_mb", "disk_mb", "inodes",
              "open_files", "stack_mb"});
  Limits limits;
  const auto count = [&](const char* key, uint64_t& field, uint64_t unit, double most) {
    if (const Json* value = find(json, key))
      field = static_cast<uint64_t>(positive(*value, key, most) * static_cast<double>(unit));
  };
  if (const Json* value = find(json, "cpu_s")) limits.cpu_s = positive(*value, "cpu_s", 1e6);
  if (const Json* value = find(json, "wall_s")) limits.wall_s = positive(*value, "wall_s", 1e6);
  count("mem_mb", limits.memory_bytes, 1 << 20, 1e7);
  count("pids", limits.processes, 1, 1e5);
  count("output_kb", limits.output_bytes, 1 << 10, 1e6);
  count("file_mb", limits.file_bytes, 1 << 20, 1e6);
  count("disk_mb", limits.disk_bytes, 1 << 20, 1e6);
  count("inodes", limits.inodes, 1, 1e8);
  count("open_files", limits.open_files, 1, 1e6);
  count("stack_mb", limits.stack_bytes, 1 << 20, 1e5);
  return limits;
}

Json test_to_json(const TestResult& result) {
  Json json = {{"verdict", verdict_code(result.verdict)},
               {"reason", result.reason},
               {"cpu_s", result.cpu_s},
               {"wall_s", result.wall_s},
               {"memory_peak_bytes", result.memory_peak_bytes}};
  json["exit_code"] = result.exit_code ? Json(*result.exit_code) : Json();
  json["signal"] = result.signal ? Json(*result.signal) : Json();
  json["stdout_cut"] = result.out_cut;
  json["stderr_cut"] = result.err_cut;
  return json;
}

Json all_tests(const Result& result) {
  Json tests = Json::array();
  for (const auto& test : result.tests) tests.push_back(test_to_json(test));
  return tests;
}

}  // namespace

std::string base64_decode(std::string_view text) {
  std::array<int, 256> value;
  value.fill(-1);
  for (size_t i = 0; i < kAlphabet.size(); ++i)
    value[static_cast<unsigned char>(kAlphabet[i])] = static_cast<int>(i);
  size_t size = text.size();
  while (size > 0 && text.size() - size < 2 && text[size - 1] == '=') --size;
  if (text.size() % 4 != 0)
    core::throw_user("[sandbox request] base64 text of {} characters is cut short", text.size());
  std::string bytes;
  bytes.reserve(size * 3 / 4);
  uint32_t bits = 0;
  int num_bits = 0;
  for (const char character : text.substr(0, size)) {
    const int six = value[static_cast<unsigned char>(character)];
    if (six < 0) core::throw_user("[sandbox request] '{}' is no base64 character", character);
    bits = bits << 6 | static_cast<uint32_t>(six);
    num_bits += 6;
    if (num_bits < 8) continue;
    num_bits -= 8;
    bytes += static_cast<char>(bits >> num_bits & 0xFF);
  }
  return bytes;
}

std::string base64_encode(std::string_view bytes) {
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t num = std::min<size_t>(3, bytes.size() - i);
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k)
      bits = bits << 8 | (k < num ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    for (size_t k = 0; k < 4; ++k) text += k <= num ? kAlphabet[bits >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

void read_tests(const Json& tests, Request& request) {
  if (tests.is_object()) {
    check_keys(tests, "tests", {"entry_point", "assert_tests", "io_pairs", "setup"});
    request.function = FunctionTests{text_of(tests, "entry_point"), text_of(tests, "assert_tests"),
                                     text_of(tests, "setup"), ""};
    if (const Json* pairs = find(tests, "io_pairs")) request.function->pairs_json = pairs->dump();
    return;
  }
  if (!tests.is_array() || tests.empty())
    core::throw_user(
        "[sandbox request] tests: expected a list of {{stdin, expected}} or an object with "
        "entry_point");
  request.tests.clear();
  for (const auto& test : tests) {
    check_keys(test, "tests", {"stdin", "stdin_b64", "expected", "expected_b64"});
    request.tests.push_back({bytes_of(test, "stdin").value_or(""), bytes_of(test, "expected")});
  }
}

Request request_from_json(const Json& json) {
  check_keys(json, "request",
             {"language", "mode", "code", "code_b64", "stdin", "stdin_b64", "expected",
              "expected_b64", "tests", "limits", "run_all_tests"});
  Request request;
  if (find(json, "language") != nullptr) request.language = text_of(json, "language");
  const auto code = bytes_of(json, "code");
  if (!code) core::throw_user("[sandbox request] code: missing (code or code_b64)");
  request.code = *code;
  if (const Json* limits = find(json, "limits")) request.limits = limits_from_json(*limits);
  if (const Json* all = find(json, "run_all_tests")) request.run_all_tests = *all == true;
  const std::string mode = find(json, "mode") == nullptr ? "stdin" : text_of(json, "mode");
  if (mode != "stdin" && mode != "function")
    core::throw_user("[sandbox request] mode: expected stdin or function, found '{}'", mode);
  request.tests = {{bytes_of(json, "stdin").value_or(""), bytes_of(json, "expected")}};
  const Json* tests = find(json, "tests");
  if (tests != nullptr) read_tests(*tests, request);
  if (mode == "function" && !request.function)
    core::throw_user(
        "[sandbox request] mode function needs tests {{entry_point, assert_tests or io_pairs}}");
  if (mode == "stdin" && request.function)
    core::throw_user("[sandbox request] tests of a function need mode function");
  return request;
}

Json reply_to_json(const Result& result) {
  Json json = test_to_json(result);
  json["passed"] = result.passed;
  json["stdout_b64"] = base64_encode(result.out);
  json["stderr_b64"] = base64_encode(result.err);
  json["mem_mb"] = static_cast<double>(result.memory_peak_bytes) / (1 << 20);
  json["tests"] = all_tests(result);
  return json;
}

Json result_to_json(const Result& result) {
  // Through dump and parse, so that bytes which are no UTF-8 become U+FFFD here and every later
  // dump is safe.
  Json json = test_to_json(result);
  json["passed"] = result.passed;
  json["stdout"] = result.out;
  json["stderr"] = result.err;
  json["tests"] = all_tests(result);
  return Json::parse(json.dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace ponder::sandbox
