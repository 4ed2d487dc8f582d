#include "rewards/json_schema.h"

#include <array>
#include <cmath>
#include <functional>
#include <set>
#include <stdexcept>

#include <re2/re2.h>

#include "core/error.h"
#include "core/json_text.h"
#include "rewards/fence.h"
#include "rewards/text.h"

namespace ponder::rewards {
namespace {

using data::Json;
using data::ScoreStatus;

constexpr int kStepsMax = 1'000'000, kDepthMax = 200;

bool of_type(const Json& value, const std::string& type) {
  if (type == "integer")
    return value.is_number_integer() ||
           (value.is_number() && std::floor(value.get<double>()) == value.get<double>());
  if (type == "number") return value.is_number();
  static const std::map<std::string, Json::value_t> types = {{"object", Json::value_t::object},
                                                             {"array", Json::value_t::array},
                                                             {"string", Json::value_t::string},
                                                             {"boolean", Json::value_t::boolean},
                                                             {"null", Json::value_t::null}};
  const auto found = types.find(type);
  if (found == types.end()) throw std::invalid_argument("unknown type " + type);
  return value.type() == found->second;
}

size_t characters(const std::string& text) {
  size_t count = 0;
  for (size_t at = 0; at < text.size(); ++count) text::next_code_point(text, at);
  return count;
}

bool finds(const std::string& pattern, const std::string& text) {
  re2::RE2::Options options;
  options.set_log_errors(false);
  const re2::RE2 compiled(pattern, options);
  if (!compiled.ok()) throw std::invalid_argument("pattern " + pattern + ": " + compiled.error());
  return re2::RE2::PartialMatch(text, compiled);
}

const std::set<std::string> kAnnotations = {"title",       "description", "default",  "examples",
                                            "format",      "deprecated",  "readOnly", "writeOnly",
                                            "$comment",    "$schema",     "$id",      "$defs",
                                            "definitions", "then",        "else"};

class Validator {
 public:
  explicit Validator(const Json& root) : root_(root) {}

  // Where `value` does not fit; "" where it does.
  std::string check(const Json& schema, const Json& value, const std::string& place, int depth) {
    if (++steps_ > kStepsMax) throw std::invalid_argument("more than a million steps");
    if (depth > kDepthMax)
      throw std::invalid_argument("nested too deep, or a $ref that never ends");
    if (schema.is_boolean()) return schema.get<bool>() ? "" : place + ": nothing is allowed here";
    if (!schema.is_object())
      throw std::invalid_argument("a schema is an object or a boolean, found " +
                                  text::shortened(schema.dump()));
    for (const auto& [keyword, rule] : schema.items()) {
      if (kAnnotations.contains(keyword)) continue;
      std::string wrong = any(schema, keyword, rule, value, place, depth);
      if (!wrong.empty()) return wrong;
    }
    return {};
  }

 private:
  std::string any(const Json& schema, const std::string& keyword, const Json& rule,
                  const Json& value, const std::string& place, int depth) {
    for (const auto part : {&Validator::logic, &Validator::number, &Validator::string,
                            &Validator::array, &Validator::object}) {
      known_ = true;
      std::string wrong = (this->*part)(schema, keyword, rule, value, place, depth);
      if (known_) return wrong;
    }
    throw std::invalid_argument("the keyword " + keyword + " is not supported");
  }
  bool fits(const Json& schema, const Json& value, const std::string& place, int depth) {
    return check(schema, value, place, depth + 1).empty();
  }
  std::string unknown() {
    known_ = false;
    return {};
  }
  static std::string unless(bool holds, const std::string& place, const std::string& what) {
    return holds ? "" : place + ": expected " + what;
  }

  std::string logic(const Json& schema, const std::string& k, const Json& rule, const Json& value,
                    const std::string& place, int depth) {
    if (k == "type") {
      const Json types = rule.is_array() ? rule : Json::array({rule});
      bool holds = false;
      for (const Json& type : types) holds = holds || of_type(value, type.get<std::string>());
      return unless(holds, place, "type " + rule.dump());
    }
    if (k == "const") return unless(value == rule, place, text::shortened(rule.dump()));
    if (k == "enum") {
      bool holds = false;
      for (const Json& allowed : rule) holds = holds || allowed == value;
      return unless(holds, place, "one of " + text::shortened(rule.dump()));
    }
    if (k == "$ref") {
      const std::string name = rule.get<std::string>();
      if (!name.starts_with("#")) throw std::invalid_argument("$ref to another document: " + name);
      const Json::json_pointer pointer(name.substr(1));
      if (!root_.contains(pointer)) throw std::invalid_argument("$ref leads nowhere: " + name);
      return check(root_.at(pointer), value, place, depth + 1);
    }
    if (k == "not")
      return unless(!fits(rule, value, place, depth), place, "not " + text::shortened(rule.dump()));
    if (k == "if") {
      const char* branch = fits(rule, value, place, depth) ? "then" : "else";
      return schema.contains(branch) ? check(schema[branch], value, place, depth + 1)
                                     : std::string();
    }
    if (k != "allOf" && k != "anyOf" && k != "oneOf") return unknown();
    size_t fitting = 0;
    std::string first;
    for (const Json& one : rule) {
      const std::string wrong = check(one, value, place, depth + 1);
      fitting += wrong.empty() ? 1 : 0;
      if (first.empty()) first = wrong;
    }
    if (k == "allOf") return fitting == rule.size() ? "" : first;
    if (k == "anyOf") return fitting > 0 ? "" : first;
    return unless(fitting == 1, place, fmt::format("exactly one of oneOf, {} fit", fitting));
  }

  std::string number(const Json&, const std::string& k, const Json& rule, const Json& value,
                     const std::string& place, int) {
    static const std::map<std::string, std::function<bool(double, double)>> rules = {
        {"minimum", [](double v, double r) { return v >= r; }},
        {"maximum", [](double v, double r) { return v <= r; }},
        {"exclusiveMinimum", [](double v, double r) { return v > r; }},
        {"exclusiveMaximum", [](double v, double r) { return v < r; }},
        {"multipleOf",
         [](double v, double r) { return std::abs(v / r - std::round(v / r)) < 1e-9; }}};
    const auto found = rules.find(k);
    if (found == rules.end()) return unknown();
    return unless(!value.is_number() || found->second(value.get<double>(), rule.get<double>()),
                  place, k + " " + rule.dump());
  }

  std::string string(const Json&, const std::string& k, const Json& rule, const Json& value,
                     const std::string& place, int) {
    if (k != "minLength" && k != "maxLength" && k != "pattern") return unknown();
    if (!value.is_string()) return {};
    const std::string& text = value.get_ref<const std::string&>();
    const bool holds = k == "pattern"     ? finds(rule.get<std::string>(), text)
                       : k == "minLength" ? characters(text) >= rule.get<size_t>()
                                          : characters(text) <= rule.get<size_t>();
    return unless(holds, place, k + " " + rule.dump());
  }

  std::string array(const Json& schema, const std::string& k, const Json& rule, const Json& value,
                    const std::string& place, int depth) {
    static const std::set<std::string> own = {"items",    "prefixItems", "minItems",
                                              "maxItems", "uniqueItems", "contains"};
    if (!own.contains(k)) return unknown();
    if (!value.is_array()) return {};
    if (k == "minItems")
      return unless(value.size() >= rule.get<size_t>(), place,
                    "at least " + rule.dump() + " items");
    if (k == "maxItems")
      return unless(value.size() <= rule.get<size_t>(), place, "at most " + rule.dump() + " items");
    if (k == "uniqueItems")
      return unless(
          !rule.get<bool>() || std::set<Json>(value.begin(), value.end()).size() == value.size(),
          place, "items that differ");
    if (k == "contains") {
      bool holds = false;
      for (const Json& item : value) holds = holds || fits(rule, item, place, depth);
      return unless(holds, place, "an item like " + text::shortened(rule.dump()));
    }
    const size_t prefix = schema.contains("prefixItems") ? schema["prefixItems"].size() : 0;
    const size_t begin = k == "items" ? prefix : 0,
                 end = k == "items" ? value.size() : std::min(prefix, value.size());
    for (size_t i = begin; i < end; ++i) {
      std::string wrong = check(k == "items" ? rule : rule[i], value[i],
                                fmt::format("{}[{}]", place, i), depth + 1);
      if (!wrong.empty()) return wrong;
    }
    return {};
  }

  std::string object(const Json& schema, const std::string& k, const Json& rule, const Json& value,
                     const std::string& place, int depth) {
    static const std::set<std::string> own = {
        "properties",    "required",      "additionalProperties", "patternProperties",
        "propertyNames", "minProperties", "maxProperties",        "dependentRequired"};
    if (!own.contains(k)) return unknown();
    if (!value.is_object()) return {};
    if (k == "minProperties")
      return unless(value.size() >= rule.get<size_t>(), place,
                    "at least " + rule.dump() + " properties");
    if (k == "maxProperties")
      return unless(value.size() <= rule.get<size_t>(), place,
                    "at most " + rule.dump() + " properties");
    if (k == "required") return missing(rule, value, place);
    if (k == "dependentRequired") {
      for (const auto& [name, names] : rule.items()) {
        std::string wrong = value.contains(name) ? missing(names, value, place) : std::string();
        if (!wrong.empty()) return wrong;
      }
      return {};
    }
    for (const auto& [name, member] : value.items()) {
      std::string wrong = property(schema, k, rule, name, member, place + "." + name, depth);
      if (!wrong.empty()) return wrong;
    }
    return {};
  }

  std::string property(const Json& schema, const std::string& k, const Json& rule,
                       const std::string& name, const Json& member, const std::string& place,
                       int depth) {
    if (k == "propertyNames") return check(rule, Json(name), place, depth + 1);
    if (k == "properties")
      return rule.contains(name) ? check(rule[name], member, place, depth + 1) : std::string();
    bool matched = k == "additionalProperties" && schema.contains("properties") &&
                   schema["properties"].contains(name);
    const Json patterns =
        k == "patternProperties" ? rule : schema.value("patternProperties", Json::object());
    for (const auto& [pattern, its_schema] : patterns.items()) {
      if (!finds(pattern, name)) continue;
      matched = true;
      std::string wrong =
          k == "patternProperties" ? check(its_schema, member, place, depth + 1) : std::string();
      if (!wrong.empty()) return wrong;
    }
    return k == "additionalProperties" && !matched ? check(rule, member, place, depth + 1)
                                                   : std::string();
  }

  static std::string missing(const Json& names, const Json& value, const std::string& place) {
    for (const Json& name : names) {
      if (!value.contains(name.get<std::string>()))
        return place + ": lacks " + name.get<std::string>();
    }
    return {};
  }

  const Json& root_;
  int steps_ = 0;
  bool known_ = true;
};

Json schema_of(const Json& answer) {
  if (answer.is_string())
    return core::nests_deeper(answer.get<std::string>(), kDepthMax)
               ? Json()
               : Json::parse(answer.get<std::string>(), nullptr, false);
  return answer;
}

}  // namespace

std::string schema_mismatch(const Json& schema, const Json& value) {
  try {
    return Validator(schema).check(schema, value, "$", 0);
  } catch (const Json::exception& error) {
    throw std::invalid_argument(error.what());
  }
}

std::string JsonSchema::problem_with(const data::Prompt& prompt) const {
  if (prompt.answer.is_null()) return {};
  const Json schema = schema_of(prompt.answer);
  if (!schema.is_object() && !schema.is_boolean())
    return "json_schema: the answer is no schema: " + text::shortened(prompt.answer.dump());
  try {  // a value of each type, so that every keyword at the top is read
    for (const Json& value : {Json(), Json(1), Json(""), Json::array(), Json::object()})
      schema_mismatch(schema, value);
  } catch (const std::invalid_argument& error) {
    return std::string("json_schema: the answer is no schema: ") + error.what();
  }
  return {};
}

Judgement JsonSchema::judge(const data::Prompt& prompt, const data::Completion& completion) const {
  if (const std::string problem = problem_with(prompt); !problem.empty()) return refused(problem);
  if (completion.finish_reason != data::FinishReason::kStop)
    return {0.0, ScoreStatus::kUnparsed, "cut before its end"};
  const std::string whole = text::rendered(prompt, completion);
  const std::string text =
      last_fenced(whole, {"json"}).value_or(std::string(text::behind_reasoning(whole)));
  if (core::nests_deeper(text, kDepthMax))
    return {0.0, ScoreStatus::kUnparsed, fmt::format("nested deeper than {}", kDepthMax)};
  const Json value = Json::parse(text, nullptr, false);
  if (value.is_discarded())
    return {0.0, ScoreStatus::kUnparsed, "no valid JSON: " + text::shortened(text::trimmed(text))};
  if (prompt.answer.is_null()) return {1.0, ScoreStatus::kOk, "valid JSON"};
  try {
    const std::string wrong = schema_mismatch(schema_of(prompt.answer), value);
    return {wrong.empty() ? 1.0 : 0.0, wrong.empty() ? ScoreStatus::kOk : ScoreStatus::kWrong,
            wrong.empty() ? "fits the schema" : wrong};
  } catch (const std::invalid_argument& error) {
    return refused(std::string("json_schema: ") + error.what());
  }
}

}  // namespace ponder::rewards
