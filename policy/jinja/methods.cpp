// The methods of strings, lists and dicts.
#include <algorithm>
#include <map>
#include <set>

#include <fmt/format.h>

#include "policy/jinja/characters.h"
#include "policy/jinja/library.h"
#include "policy/jinja/operations.h"

namespace ponder::policy::jinja {
namespace {

using Run = Interpreter;
using Args = Arguments;

const std::string& utf8(const Value& value) {
  return *value.as_string();
}

// A text like `input`: what is made of a `safe` one is safe.
Value like(const Value& input, std::string text) {
  return Value::text(std::move(text), input.as<Text>()->markup);
}

const std::string& string_argument(const Value& value, const char* method) {
  if (const std::string* text = value.as_string()) return *text;
  throw Problem(fmt::format("{}() expects a string, not {}", method, type_name(value)));
}

int64_t integer_argument(const std::optional<Value>& value, int64_t otherwise) {
  if (!value || value->is_none()) return otherwise;
  if (const auto index = value->as_index()) return *index;
  throw Problem(fmt::format("'{}' object cannot be interpreted as an integer", type_name(*value)));
}

template <Side side>
Value strip_method(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("strip()", {"chars"});
  run.budget().spend(utf8(input).size());
  if (!bound[0] || bound[0]->is_none()) return like(input, std::string(strip(utf8(input), side)));
  const std::string_view of = string_argument(*bound[0], "strip");
  run.budget().spend(utf8(input).size() * std::min<size_t>(of.size(), 64));
  return like(input, std::string(strip(utf8(input), side, &of)));
}

// Words: white space parts them, none is empty. From the right where `from_right`.
std::vector<std::string_view> split_words(std::string_view text, size_t splits_max,
                                          bool from_right) {
  std::vector<std::string_view> parts;
  const Side near = from_right ? Side::kRight : Side::kLeft;
  text = strip(text, near);
  while (!text.empty() && parts.size() < splits_max) {
    const std::vector<std::string_view> all = characters(text);
    const auto blank = [](std::string_view c) { return is_space(code_point(c)); };
    if (from_right) {
      const auto at = std::find_if(all.rbegin(), all.rend(), blank);
      const size_t begin =
          at == all.rend() ? 0 : static_cast<size_t>(at->data() - text.data()) + at->size();
      parts.push_back(text.substr(begin));
      text = strip(text.substr(0, begin), near);
    } else {
      const auto at = std::find_if(all.begin(), all.end(), blank);
      const size_t end =
          at == all.end() ? text.size() : static_cast<size_t>(at->data() - text.data());
      parts.push_back(text.substr(0, end));
      text = strip(text.substr(end), near);
    }
  }
  if (!text.empty()) parts.push_back(text);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> split_at(std::string_view text, std::string_view separator,
                                       size_t splits_max, bool from_right) {
  std::vector<std::string_view> parts;
  while (parts.size() < splits_max) {
    const size_t at = from_right ? text.rfind(separator) : text.find(separator);
    if (at == std::string_view::npos) break;
    const std::string_view left = text.substr(0, at), right = text.substr(at + separator.size());
    parts.push_back(from_right ? right : left);
    text = from_right ? left : right;
  }
  parts.push_back(text);
  if (from_right) std::reverse(parts.begin(), parts.end());
  return parts;
}

template <bool from_right>
Value split_method(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("split()", {"sep", "maxsplit"});
  const int64_t splits = integer_argument(bound[1], -1);
  const size_t splits_max = splits < 0 ? SIZE_MAX : static_cast<size_t>(splits);
  const std::string& text = utf8(input);
  std::vector<std::string_view> parts;
  if (!bound[0] || bound[0]->is_none()) {
    run.budget().spend(text.size() * 8);
    parts = split_words(text, splits_max, from_right);
  } else {
    const std::string& separator = string_argument(*bound[0], "split");
    if (separator.empty()) throw Problem("empty separator");
    parts = split_at(text, separator, splits_max, from_right);
  }
  run.budget().spend(text.size() + parts.size() * sizeof(Value) * 3);
  std::vector<Value> items;
  for (const std::string_view part : parts) items.push_back(like(input, std::string(part)));
  return Value::list(std::move(items));
}

Value splitlines_method(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("splitlines()", {"keepends"});
  std::vector<Value> items;
  for (const std::string_view line : split_lines(utf8(input), bound[0] && truthy(*bound[0]))) {
    run.budget().spend(line.size() + sizeof(Value) * 3);
    items.push_back(like(input, std::string(line)));
  }
  return Value::list(std::move(items));
}

// The part [start, end) of a text that find, count, startswith look at, and its first byte's
// offset.
std::optional<std::string_view> part_of(Run& run, const std::string& text,
                                        const std::optional<Value>& start,
                                        const std::optional<Value>& end) {
  if (!start && !end) return text;
  run.budget().spend(text.size());
  const auto size = static_cast<int64_t>(count_characters(text));
  const auto place = [&](const std::optional<Value>& v, int64_t otherwise) {
    const int64_t at = integer_argument(v, otherwise);
    return std::clamp<int64_t>(at < 0 ? at + size : at, 0, std::max(size, at));
  };
  const int64_t first = place(start, 0), last = std::min(place(end, size), size);
  if (first > size || first > last) return std::nullopt;
  const std::vector<std::string_view> all = characters(text);
  const auto byte = [&](int64_t at) {
    return at == size ? text.size()
                      : static_cast<size_t>(all[static_cast<size_t>(at)].data() - text.data());
  };
  return std::string_view(text).substr(byte(first), byte(last) - byte(first));
}

template <bool at_start>
Value affix_method(Run& run, const Value& input, Args& args) {
  const auto bound =
      args.bind(at_start ? "startswith()" : "endswith()", {"prefix", "start", "end"}, 1);
  const auto part = part_of(run, utf8(input), bound[1], bound[2]);
  const auto matches = [&](const Value& affix) {
    const std::string& text = string_argument(affix, at_start ? "startswith" : "endswith");
    return part && (at_start ? part->starts_with(text) : part->ends_with(text));
  };
  const Sequence* several = bound[0]->as<Sequence>();
  if (!several || several->flavour != Sequence::Flavour::kTuple) return Value(matches(*bound[0]));
  return Value(std::any_of(several->items.begin(), several->items.end(), matches));
}

template <bool from_right, bool must_be_there>
Value find_method(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("find()", {"sub", "start", "end"}, 1);
  const std::string& sub = string_argument(*bound[0], "find");
  const std::string& text = utf8(input);
  run.budget().spend(2 * text.size());
  const auto part = part_of(run, text, bound[1], bound[2]);
  const size_t at = !part        ? std::string_view::npos
                    : from_right ? part->rfind(sub)
                                 : part->find(sub);
  if (at == std::string_view::npos) {
    if (must_be_there) throw Problem("substring not found");
    return Value(int64_t{-1});
  }
  const auto before = static_cast<size_t>(part->data() - text.data()) + at;
  return Value(static_cast<int64_t>(count_characters(std::string_view(text).substr(0, before))));
}

Value count_method(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("count()", {"sub", "start", "end"}, 1);
  const std::string& sub = string_argument(*bound[0], "count");
  run.budget().spend(utf8(input).size());
  const auto part = part_of(run, utf8(input), bound[1], bound[2]);
  if (!part) return Value(int64_t{0});
  if (sub.empty()) return Value(static_cast<int64_t>(count_characters(*part)) + 1);
  int64_t count = 0;
  for (size_t at = part->find(sub); at != std::string_view::npos;
       at = part->find(sub, at + sub.size()))
    ++count;
  return Value(count);
}

Value replace_method(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("replace()", {"old", "new", "count"}, 2);
  string_argument(*bound[0], "replace");
  string_argument(*bound[1], "replace");
  return run.filter("replace", input, args);
}

Value join_method(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("join()", {"iterable"}, 1);
  const std::vector<Value> items = elements(*bound[0], run.budget());
  std::string out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].as_string())
      throw Problem(
          fmt::format("sequence item {}: expected str instance, {} found", i, type_name(items[i])));
    run.budget().spend(utf8(items[i]).size() + utf8(input).size());
    if (i > 0) out += utf8(input);
    out += utf8(items[i]);
  }
  return like(input, std::move(out));
}

// title(): each letter after a non-letter in upper case, the others in lower case.
Value title_method(Run& run, const Value& input, Args&) {
  run.budget().spend(utf8(input).size());
  std::string out;
  bool inside = false;
  for (const std::string_view c : characters(utf8(input))) {
    out += inside ? lower(c) : capitalize(c);
    inside = is_upper(code_point(c)) || is_lower(code_point(c));
  }
  return like(input, std::move(out));
}

enum class Fill { kLeft, kRight, kBoth };

template <Fill fill>
Value pad_method(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("ljust()", {"width", "fillchar"}, 1);
  const std::string filler = bound[1] ? string_argument(*bound[1], "ljust") : " ";
  if (count_characters(filler) != 1)
    throw Problem("The fill character must be exactly one character long");
  const auto size = static_cast<int64_t>(count_characters(utf8(input)));
  const int64_t width = integer_argument(bound[0], 0), missing = std::max<int64_t>(width - size, 0);
  run.budget().spend(static_cast<size_t>(missing) * filler.size() + utf8(input).size());
  // str.center puts the odd one left where the width is odd, as CPython does.
  const int64_t left = fill == Fill::kLeft    ? missing
                       : fill == Fill::kRight ? 0
                                              : missing / 2 + (missing & width & 1);
  std::string out;
  for (int64_t i = 0; i < left; ++i) out += filler;
  out += utf8(input);
  for (int64_t i = left; i < missing; ++i) out += filler;
  return like(input, std::move(out));
}

Value zfill_method(Run& run, const Value& input, Args& args) {
  const int64_t width = integer_argument(args.bind("zfill()", {"width"}, 1)[0], 0);
  const std::string& text = utf8(input);
  const auto missing = std::max<int64_t>(width - static_cast<int64_t>(count_characters(text)), 0);
  run.budget().spend(static_cast<size_t>(missing) + text.size());
  const size_t sign = text.starts_with('-') || text.starts_with('+') ? 1 : 0;
  return like(input, text.substr(0, sign) + std::string(static_cast<size_t>(missing), '0') +
                         text.substr(sign));
}

template <bool from_right>
Value partition_method(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("partition()", {"sep"}, 1);
  const std::string &separator = string_argument(*bound[0], "partition"), &text = utf8(input);
  if (separator.empty()) throw Problem("empty separator");
  run.budget().spend(2 * text.size());
  const size_t at = from_right ? text.rfind(separator) : text.find(separator);
  std::vector<Value> parts(3, like(input, ""));
  if (at == std::string::npos) {
    parts[from_right ? 2 : 0] = input;
  } else {
    parts = {like(input, text.substr(0, at)), like(input, separator),
             like(input, text.substr(at + separator.size()))};
  }
  return Value::sequence(Sequence::Flavour::kTuple, std::move(parts));
}

template <bool at_start>
Value remove_method(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("removeprefix()", {"prefix"}, 1);
  const std::string &affix = string_argument(*bound[0], "removeprefix"), &text = utf8(input);
  run.budget().spend(text.size());
  const bool there = at_start ? text.starts_with(affix) : text.ends_with(affix);
  if (!there) return input;
  return like(input, text.substr(at_start ? affix.size() : 0, text.size() - affix.size()));
}

template <bool (*passes)(char32_t)>
Value all_method(Run& run, const Value& input, Args&) {
  run.budget().spend(utf8(input).size());
  const std::vector<std::string_view> all = characters(utf8(input));
  return Value(!all.empty() && std::all_of(all.begin(), all.end(), [](std::string_view c) {
    return passes(code_point(c));
  }));
}

bool is_alnum(char32_t c) {
  return is_alpha(c) || is_decimal(c);
}

Value as_filter(Run& run, const Value& input, Args& args, const char* name) {
  args.bind(name, {});
  return run.filter(name, input, args);
}

const std::map<std::string, Function>& string_methods() {
  static const std::map<std::string, Function> methods = {
      {"strip", strip_method<Side::kBoth>},
      {"lstrip", strip_method<Side::kLeft>},
      {"rstrip", strip_method<Side::kRight>},
      {"split", split_method<false>},
      {"rsplit", split_method<true>},
      {"splitlines", splitlines_method},
      {"startswith", affix_method<true>},
      {"endswith", affix_method<false>},
      {"find", find_method<false, false>},
      {"rfind", find_method<true, false>},
      {"index", find_method<false, true>},
      {"rindex", find_method<true, true>},
      {"count", count_method},
      {"replace", replace_method},
      {"join", join_method},
      {"title", title_method},
      {"ljust", pad_method<Fill::kRight>},
      {"rjust", pad_method<Fill::kLeft>},
      {"center", pad_method<Fill::kBoth>},
      {"zfill", zfill_method},
      {"partition", partition_method<false>},
      {"rpartition", partition_method<true>},
      {"removeprefix", remove_method<true>},
      {"removesuffix", remove_method<false>},
      {"isspace", all_method<is_space>},
      {"isalpha", all_method<is_alpha>},
      {"isalnum", all_method<is_alnum>},
      {"isdigit", all_method<is_decimal>},
      {"isdecimal", all_method<is_decimal>},
      {"upper",
       [](Run& run, const Value& v, Args& args) { return as_filter(run, v, args, "upper"); }},
      {"lower",
       [](Run& run, const Value& v, Args& args) { return as_filter(run, v, args, "lower"); }},
      {"capitalize",
       [](Run& run, const Value& v, Args& args) { return as_filter(run, v, args, "capitalize"); }},
      {"isupper",
       [](Run& run, const Value& v, Args& args) { return Value(run.test("upper", v, args)); }},
      {"islower",
       [](Run& run, const Value& v, Args& args) { return Value(run.test("lower", v, args)); }}};
  return methods;
}

Value view(Run& run, const Value& input, bool keys, bool values) {
  std::vector<Value> items;
  for (const auto& [key, value] : input.as<Dict>()->entries()) {
    run.budget().spend(4 * sizeof(Value));
    items.push_back(keys && values ? Value::sequence(Sequence::Flavour::kTuple, {key, value})
                    : keys         ? key
                                   : value);
  }
  return Value::sequence(Sequence::Flavour::kView, std::move(items));
}

Value get_method(Run&, const Value& input, Args& args) {
  const auto bound = args.bind("get()", {"key", "default"}, 1);
  const Value* value = input.as<Dict>()->find(*bound[0]);
  return value ? *value : bound[1].value_or(Value());
}

const std::map<std::string, Function>& dict_methods() {
  static const std::map<std::string, Function> methods = {
      {"get", get_method},
      {"items",
       [](Run& run, const Value& v, Args& args) {
         args.bind("items()", {});
         return view(run, v, true, true);
       }},
      {"keys",
       [](Run& run, const Value& v, Args& args) {
         args.bind("keys()", {});
         return view(run, v, true, false);
       }},
      {"values",
       [](Run& run, const Value& v, Args& args) {
         args.bind("values()", {});
         return view(run, v, false, true);
       }},
      {"copy", [](Run&, const Value& v, Args& args) {
         args.bind("copy()", {});
         return v;
       }}};
  return methods;
}

Value list_index(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("index()", {"value"}, 1);
  const std::vector<Value>& items = input.as<Sequence>()->items;
  for (size_t i = 0; i < items.size(); ++i) {
    if (equal(items[i], *bound[0], run.budget())) return Value(static_cast<int64_t>(i));
  }
  throw Problem(fmt::format("{} is not in list", repr(*bound[0], run.budget())));
}

Value list_count(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("count()", {"value"}, 1);
  const std::vector<Value>& items = input.as<Sequence>()->items;
  return Value(static_cast<int64_t>(std::count_if(items.begin(), items.end(), [&](const Value& v) {
    return equal(v, *bound[0], run.budget());
  })));
}

const std::map<std::string, Function>& list_methods() {
  static const std::map<std::string, Function> methods = {
      {"index", list_index}, {"count", list_count}, {"copy", [](Run&, const Value& v, Args&) {
                                                       return v;
                                                     }}};
  return methods;
}

// Methods that Python has and that change their object, or that we do not have.
const std::set<std::string> kDictChangers = {"clear", "pop", "popitem", "setdefault", "update"};
const std::set<std::string> kListChangers = {"append", "clear", "pop",    "reverse",
                                             "insert", "sort",  "extend", "remove"};
const std::set<std::string> kStringOthers = {
    "casefold",  "encode",      "expandtabs", "format",    "format_map", "isascii",  "isidentifier",
    "isnumeric", "isprintable", "istitle",    "maketrans", "swapcase",   "translate"};

}  // namespace

std::optional<Value> method(const Value& object, const std::string& name) {
  const std::map<std::string, Function>* methods = nullptr;
  const Sequence* sequence = object.as<Sequence>();
  const bool is_list = sequence && sequence->flavour == Sequence::Flavour::kList;
  if (object.as_string()) {
    if (kStringOthers.contains(name))
      throw Problem(
          fmt::format("the string method '{}' is not supported in a chat template", name));
    methods = &string_methods();
  } else if (object.as<Dict>()) {
    methods = &dict_methods();
  } else if (is_list ||
             (sequence && sequence->flavour == Sequence::Flavour::kTuple && name != "copy")) {
    methods = &list_methods();
  }
  const bool changes = (object.as<Dict>() && kDictChangers.contains(name)) ||
                       (is_list && kListChangers.contains(name));
  if (changes)
    return Value::undefined(
        fmt::format("access to attribute '{}' of '{}' object is unsafe.", name, type_name(object)));
  if (!methods) return std::nullopt;
  const auto place = methods->find(name);
  if (place == methods->end()) return std::nullopt;
  Callable bound;
  bound.name = name;
  bound.depth = object.depth() + 1;
  bound.call = [object, function = place->second](Interpreter& run, Arguments& arguments) {
    return function(run, object, arguments);
  };
  return Value::callable(std::move(bound));
}

}  // namespace ponder::policy::jinja
