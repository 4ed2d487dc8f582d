// The tests of `is`, `select` and `selectattr`.
#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "core/spelling.h"
#include "policy/jinja/characters.h"
#include "policy/jinja/library.h"
#include "policy/jinja/operations.h"

namespace ponder::policy::jinja {
namespace {

Value only(const Arguments& arguments, const char* name) {
  return *arguments.bind(name, {"other"}, 1)[0];
}

bool is_sequence(const Value& value) {
  const Sequence* s = value.as<Sequence>();
  const bool indexed =
      s && s->flavour != Sequence::Flavour::kView && s->flavour != Sequence::Flavour::kGenerator;
  return indexed || value.as_string() || value.as<Dict>() || value.is_undefined();
}

bool is_iterable(const Value& value) {
  return value.as<Sequence>() || value.as_string() || value.as<Dict>() || value.is_undefined();
}

bool has_remainder(Interpreter& run, const Value& value, int64_t divisor, int64_t remainder) {
  return equal(arithmetic("%", value, Value(divisor), run.budget()), Value(remainder),
               run.budget());
}

// Any cased character, and all of those that are cased pass.
template <typename Passes>
bool cased(const std::string& text, Passes passes) {
  bool any = false;
  for (const std::string_view c : characters(text)) {
    const char32_t point = code_point(c);
    if (!is_upper(point) && !is_lower(point)) continue;
    if (!passes(point)) return false;
    any = true;
  }
  return any;
}

using Run = Interpreter;
using Args = Arguments;

const std::map<std::string, TestFunction>& table() {
  static const auto less = [](Run& run, const Value& a, Args& args) {
    return compare(a, only(args, "<"), "<", run.budget()) < 0;
  };
  static const auto more = [](Run& run, const Value& a, Args& args) {
    return compare(a, only(args, ">"), ">", run.budget()) > 0;
  };
  static const auto at_most = [](Run& run, const Value& a, Args& args) {
    return compare(a, only(args, "<="), "<=", run.budget()) <= 0;
  };
  static const auto at_least = [](Run& run, const Value& a, Args& args) {
    return compare(a, only(args, ">="), ">=", run.budget()) >= 0;
  };
  static const auto same = [](Run& run, const Value& a, Args& args) {
    return equal(a, only(args, "=="), run.budget());
  };
  static const auto other = [](Run& run, const Value& a, Args& args) {
    return !equal(a, only(args, "!="), run.budget());
  };
  static const std::map<std::string, TestFunction> tests = {
      {"defined", [](Run&, const Value& v, Args&) { return !v.is_undefined(); }},
      {"undefined", [](Run&, const Value& v, Args&) { return v.is_undefined(); }},
      {"none", [](Run&, const Value& v, Args&) { return v.is_none(); }},
      {"boolean", [](Run&, const Value& v, Args&) { return v.as<bool>() != nullptr; }},
      {"true", [](Run&, const Value& v, Args&) { return v.as<bool>() && *v.as<bool>(); }},
      {"false", [](Run&, const Value& v, Args&) { return v.as<bool>() && !*v.as<bool>(); }},
      {"integer", [](Run&, const Value& v, Args&) { return v.as<int64_t>() != nullptr; }},
      {"float", [](Run&, const Value& v, Args&) { return v.as<double>() != nullptr; }},
      {"number", [](Run&, const Value& v, Args&) { return v.as_number().has_value(); }},
      {"string", [](Run&, const Value& v, Args&) { return v.as_string() != nullptr; }},
      {"mapping", [](Run&, const Value& v, Args&) { return v.as<Dict>() != nullptr; }},
      {"sequence", [](Run&, const Value& v, Args&) { return is_sequence(v); }},
      {"iterable", [](Run&, const Value& v, Args&) { return is_iterable(v); }},
      // jinja2's undefined has a __call__, which complains.
      {"callable",
       [](Run&, const Value& v, Args&) { return v.as<Callable>() || v.is_undefined(); }},
      {"escaped", [](Run&, const Value& v, Args&) { return v.as<Text>() && v.as<Text>()->markup; }},
      {"sameas",
       [](Run&, const Value& v, Args& args) { return v.same_object(only(args, "sameas")); }},
      {"odd", [](Run& run, const Value& v, Args&) { return has_remainder(run, v, 2, 1); }},
      {"even", [](Run& run, const Value& v, Args&) { return has_remainder(run, v, 2, 0); }},
      {"divisibleby",
       [](Run& run, const Value& v, Args& args) {
         return equal(arithmetic("%", v, only(args, "divisibleby"), run.budget()),
                      Value(int64_t{0}), run.budget());
       }},
      {"upper",
       [](Run& run, const Value& v, Args&) { return cased(str(v, run.budget()), is_upper); }},
      {"lower",
       [](Run& run, const Value& v, Args&) { return cased(str(v, run.budget()), is_lower); }},
      {"in", [](Run& run, const Value& v,
                Args& args) { return contains(only(args, "in"), v, run.budget()); }},
      {"filter",
       [](Run&, const Value& v, Args&) { return v.as_string() && find_filter(*v.as_string()); }},
      {"test",
       [](Run&, const Value& v, Args&) { return v.as_string() && find_test(*v.as_string()); }},
      {"==", same},
      {"eq", same},
      {"equalto", same},
      {"!=", other},
      {"ne", other},
      {"<", less},
      {"lt", less},
      {"lessthan", less},
      {">", more},
      {"gt", more},
      {"greaterthan", more},
      {"<=", at_most},
      {"le", at_most},
      {">=", at_least},
      {"ge", at_least}};
  return tests;
}

}  // namespace

TestFunction find_test(const std::string& name) {
  const auto place = table().find(name);
  return place == table().end() ? nullptr : place->second;
}

std::string suggest_test(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& [known, unused] : table()) names.push_back(known);
  return core::suggestion(name, names);
}

}  // namespace ponder::policy::jinja
