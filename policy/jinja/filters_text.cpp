// Filters that give a text or a number.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "policy/jinja/characters.h"
#include "policy/jinja/filters.h"
#include "policy/jinja/operations.h"

namespace ponder::policy::jinja {
namespace {

using Run = Interpreter;
using Args = Arguments;

// The input as a text, as soft_str makes it: a `safe` text stays one.
Text soft(Run& run, const Value& input) {
  if (const Text* text = input.as<Text>()) {
    run.budget().spend(text->utf8.size());
    return *text;
  }
  return {str(input, run.budget()), false};
}

int64_t integer_or(const std::optional<Value>& value, int64_t otherwise) {
  if (!value || value->is_none()) return otherwise;
  if (const auto index = value->as_index()) return *index;
  throw Problem(fmt::format("'{}' object cannot be interpreted as an integer", type_name(*value)));
}

bool flag(const std::optional<Value>& value) {
  return value && truthy(*value);
}

template <std::string (*change)(std::string_view)>
Value change_case(Run& run, const Value& input, Args& args) {
  args.bind("a filter of case", {});
  const Text text = soft(run, input);
  return Value::text(change(text.utf8), text.markup);
}

// Words begin after white space and - ( { [ <.
std::string title_words(std::string_view text) {
  std::string out;
  bool inside = false;
  for (const std::string_view c : characters(text)) {
    const char32_t point = code_point(c);
    const bool breaks = is_space(point) || (c.size() == 1 && std::string_view("-({[<").find(c[0]) !=
                                                                 std::string_view::npos);
    out += inside && !breaks ? lower(c) : upper(c);
    inside = !breaks;
  }
  return out;
}

Value trim(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("trim", {"chars"});
  const Text text = soft(run, input);
  if (!bound[0] || bound[0]->is_none())
    return Value::text(std::string(strip(text.utf8, Side::kBoth)), text.markup);
  if (!bound[0]->as_string()) throw Problem("strip arg must be None or str");
  const std::string_view of = *bound[0]->as_string();
  run.budget().spend(text.utf8.size() * std::min<size_t>(of.size(), 64));
  return Value::text(std::string(strip(text.utf8, Side::kBoth, &of)), text.markup);
}

Value replace(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("replace", {"old", "new", "count"}, 2);
  const std::string text = str(input, run.budget()), old = str(*bound[0], run.budget()),
                    with = str(*bound[1], run.budget());
  int64_t left = integer_or(bound[2], -1);
  std::string out;
  if (old.empty()) {
    // Before every character and at the end.
    const std::vector<std::string_view> all = characters(text);
    for (size_t i = 0; i <= all.size(); ++i) {
      if (left != 0) {
        run.budget().spend(with.size());
        out += with;
        --left;
      }
      if (i < all.size()) out += all[i];
    }
    return Value::text(std::move(out));
  }
  size_t from = 0;
  for (size_t at = text.find(old); at != std::string::npos && left != 0;
       at = text.find(old, from), --left) {
    run.budget().spend(with.size() + 1);
    out.append(text, from, at - from);
    out += with;
    from = at + old.size();
  }
  out.append(text, from);
  return Value::text(std::move(out));
}

Value indent(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("indent", {"width", "first", "blank"});
  const Text* text = input.as<Text>();
  if (!text) throw Problem(fmt::format("indent expects a string, not {}", type_name(input)));
  std::string margin;
  if (bound[0] && bound[0]->as_string()) {
    margin = *bound[0]->as_string();
  } else {
    const auto width = static_cast<size_t>(std::max<int64_t>(integer_or(bound[0], 4), 0));
    run.budget().spend(width);
    margin.assign(width, ' ');
  }
  const std::string whole = text->utf8 + "\n";
  std::string out = flag(bound[1]) ? margin : "";
  const std::vector<std::string_view> lines = split_lines(whole);
  for (size_t i = 0; i < lines.size(); ++i) {
    run.budget().spend(lines[i].size() + margin.size() + 1);
    if (i > 0) out += '\n';
    if (i > 0 && (flag(bound[2]) || !lines[i].empty())) out += margin;
    out += lines[i];
  }
  return Value::text(std::move(out), text->markup);
}

Value center(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("center", {"width"});
  const Text text = soft(run, input);
  Arguments width;
  width.positional.emplace_back(integer_or(bound[0], 80));
  return run.call(run.attribute(Value::text(text.utf8, text.markup), "center"), width);
}

Value truncate(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("truncate", {"length", "killwords", "end", "leeway"});
  if (input.is_undefined()) return input;
  const int64_t limit = integer_or(bound[0], 255), leeway = integer_or(bound[3], 5);
  const std::string end = bound[2] ? str(*bound[2], run.budget()) : "...";
  const auto end_size = static_cast<int64_t>(count_characters(end));
  if (limit < end_size)
    throw Problem(fmt::format("expected length >= {}, got {}", end_size, limit));
  if (leeway < 0) throw Problem(fmt::format("expected leeway >= 0, got {}", leeway));
  const auto fits = [&](size_t size) {
    const auto count = static_cast<int64_t>(size);
    return count <= limit || count - limit <= leeway;
  };
  if (!input.as<Text>()) {  // what has a length and is short stays as it is
    if (fits(length(input))) return input;
    throw Problem(fmt::format("truncate expects a string, not {}", type_name(input)));
  }
  const Text& text = *input.as<Text>();
  run.budget().spend(text.utf8.size());
  const std::vector<std::string_view> all = characters(text.utf8);
  if (fits(all.size())) return Value::text(text.utf8, text.markup);
  std::string out;
  for (int64_t i = 0; i < limit - end_size; ++i) out += all[static_cast<size_t>(i)];
  if (!flag(bound[1])) out = out.substr(0, out.rfind(' '));
  return Value::text(out + end, text.markup);
}

Value tojson(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("tojson", {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style{.ensure_ascii = flag(bound[0]), .sort_keys = flag(bound[3])};
  if (bound[1] && !bound[1]->is_none()) {
    style.item_separator = ",";
    if (const std::string* text = bound[1]->as_string()) {
      style.indent = *text;
    } else {
      const auto width = static_cast<size_t>(std::max<int64_t>(integer_or(bound[1], 0), 0));
      run.budget().spend(width);
      style.indent = std::string(width, ' ');
    }
  }
  if (bound[2] && !bound[2]->is_none()) {
    const std::vector<Value> pair = elements(*bound[2], run.budget());
    if (pair.size() != 2 || !pair[0].as_string() || !pair[1].as_string())
      throw Problem("tojson: separators: expected two strings");
    style.item_separator = *pair[0].as_string();
    style.key_separator = *pair[1].as_string();
  }
  return Value::text(to_json(input, style, run.budget()));
}

Value string(Run& run, const Value& input, Args& args) {
  args.bind("string", {});
  const Text text = soft(run, input);
  return Value::text(text.utf8, text.markup);
}

Value safe(Run& run, const Value& input, Args& args) {
  args.bind("safe", {});
  return Value::text(str(input, run.budget()), true);
}

Value truncated(double value) {
  if (!std::isfinite(value)) throw Problem("cannot convert float infinity or NaN to integer");
  if (std::abs(value) >= 9.2e18) throw Problem("integers beyond 64 bits are not supported");
  return Value(static_cast<int64_t>(value));
}

Value to_int(Run&, const Value& input, Args& args) {
  const auto bound = args.bind("int", {"default", "base"});
  const Value otherwise = bound[0].value_or(Value(int64_t{0}));
  if (const Undefined* undefined = input.as<Undefined>()) throw Problem(undefined->message);
  if (const auto index = input.as_index()) return Value(*index);
  std::optional<double> number = input.as_number();
  if (const std::string* text = input.as_string()) {
    if (const auto integer = parse_integer(*text, static_cast<int>(integer_or(bound[1], 10))))
      return Value(*integer);
    number = parse_float(*text);
  }
  if (!number || !std::isfinite(*number)) return otherwise;
  return truncated(*number);
}

Value to_float(Run&, const Value& input, Args& args) {
  const auto bound = args.bind("float", {"default"});
  if (const Undefined* undefined = input.as<Undefined>()) throw Problem(undefined->message);
  if (const auto number = input.as_number()) return Value(*number);
  const auto number = input.as_string() ? parse_float(*input.as_string()) : std::nullopt;
  return number ? Value(*number) : bound[0].value_or(Value(0.0));
}

Value absolute(Run&, const Value& input, Args& args) {
  args.bind("abs", {});
  if (const auto index = input.as_index()) return *index < 0 ? negated(input) : Value(*index);
  if (const double* number = input.as<double>()) return Value(std::abs(*number));
  if (const Undefined* undefined = input.as<Undefined>()) throw Problem(undefined->message);
  throw Problem(fmt::format("bad operand type for abs(): '{}'", type_name(input)));
}

Value round_number(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("round", {"precision", "method"});
  const int64_t precision = integer_or(bound[0], 0);
  const std::string method = bound[1] ? str(*bound[1], run.budget()) : "common";
  if (method != "common" && method != "ceil" && method != "floor")
    throw Problem("method must be common, ceil or floor");
  const auto number = input.as_number();
  if (!number)
    throw Problem(fmt::format("type {} doesn't define __round__ method", type_name(input)));
  if (precision < -300 || precision > 300) throw Problem("round: precision is out of range");
  if (method == "common") {
    if (input.as_index() && precision >= 0) return Value(*input.as_index());
    if (precision < 0) throw Problem("round: a negative precision is not supported");
    return Value(std::strtod(fmt::format("{:.{}f}", *number, precision).c_str(), nullptr));
  }
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = *number * scale;
  return Value((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

Value or_default(Run&, const Value& input, Args& args) {
  const auto bound = args.bind("default", {"default_value", "boolean"});
  const bool takes_default = input.is_undefined() || (flag(bound[1]) && !truthy(input));
  return takes_default ? bound[0].value_or(Value::text("")) : input;
}

Value count(Run&, const Value& input, Args& args) {
  args.bind("length", {});
  return Value(static_cast<int64_t>(length(input)));
}

}  // namespace

void add_text_filters(std::map<std::string, Function>& table) {
  table.insert({{"upper", change_case<upper>},
                {"lower", change_case<lower>},
                {"capitalize", change_case<capitalize>},
                {"title", change_case<title_words>},
                {"trim", trim},
                {"replace", replace},
                {"indent", indent},
                {"center", center},
                {"truncate", truncate},
                {"tojson", tojson},
                {"string", string},
                {"safe", safe},
                {"int", to_int},
                {"float", to_float},
                {"abs", absolute},
                {"round", round_number},
                {"default", or_default},
                {"d", or_default},
                {"length", count},
                {"count", count}});
}

}  // namespace ponder::policy::jinja
