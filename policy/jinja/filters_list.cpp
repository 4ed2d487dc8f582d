// Filters over lists and dicts, and the table of all filters.
#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "core/spelling.h"
#include "policy/jinja/characters.h"
#include "policy/jinja/filters.h"
#include "policy/jinja/operations.h"

namespace ponder::policy::jinja {
namespace {

using Run = Interpreter;
using Args = Arguments;

Value generator(std::vector<Value> items) {
  return Value::sequence(Sequence::Flavour::kGenerator, std::move(items));
}

// item.a.b.0 for "a.b.0"; digits are indices.
Value attribute_path(Run& run, Value item, const Value& path) {
  if (path.is_none()) return item;
  if (!path.as_string()) return run.item(item, path);
  const std::string& text = *path.as_string();
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('.', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    const bool digits = !part.empty() && std::all_of(part.begin(), part.end(),
                                                     [](char c) { return c >= '0' && c <= '9'; });
    item = run.item(item, digits ? Value(parse_integer(part, 10).value_or(0)) : Value::text(part));
    begin = end + 1;
  }
  return item;
}

Value without_case(Run& run, const Value& value, bool case_sensitive) {
  if (case_sensitive || !value.as_string()) return value;
  run.budget().spend(value.as_string()->size());
  return Value::text(lower(*value.as_string()));
}

bool flag(const std::optional<Value>& value) {
  return value && truthy(*value);
}

Value join(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("join", {"d", "attribute"});
  const std::string separator = bound[0] ? str(*bound[0], run.budget()) : "";
  std::string out;
  bool first = true;
  for (const Value& item : elements(input, run.budget())) {
    run.budget().spend(separator.size() + 1);
    if (!first) out += separator;
    first = false;
    append_str(out, bound[1] ? attribute_path(run, item, *bound[1]) : item, run.budget());
  }
  return Value::text(std::move(out));
}

Value first(Run& run, const Value& input, Args& args) {
  args.bind("first", {});
  const Sequence* s = input.as<Sequence>();
  if (s && s->flavour == Sequence::Flavour::kGenerator && s->consumed < s->items.size())
    return s->items[s->consumed++];
  if (s && s->flavour != Sequence::Flavour::kGenerator && !s->items.empty())
    return s->items.front();
  const std::vector<Value> items = elements(input, run.budget());
  return items.empty() ? Value::undefined("No first item, sequence was empty.") : items.front();
}

bool is_generator(const Value& value) {
  const Sequence* s = value.as<Sequence>();
  return s && s->flavour == Sequence::Flavour::kGenerator;
}

Value last(Run& run, const Value& input, Args& args) {
  args.bind("last", {});
  if (is_generator(input)) throw Problem("'generator' object is not reversible");
  if (const Sequence* s = input.as<Sequence>(); s && !s->items.empty()) return s->items.back();
  const std::vector<Value> items = elements(input, run.budget());
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value list(Run& run, const Value& input, Args& args) {
  args.bind("list", {});
  return Value::list(elements(input, run.budget()));
}

Value reverse(Run& run, const Value& input, Args& args) {
  args.bind("reverse", {});
  if (const Text* text = input.as<Text>()) {
    run.budget().spend(text->utf8.size());
    std::vector<std::string_view> all = characters(text->utf8);
    std::string out;
    for (auto c = all.rbegin(); c != all.rend(); ++c) out += *c;
    return Value::text(std::move(out), text->markup);
  }
  std::vector<Value> items = elements(input, run.budget());
  std::reverse(items.begin(), items.end());
  return is_generator(input) ? Value::list(std::move(items)) : generator(std::move(items));
}

Value map(Run& run, const Value& input, Args& args) {
  if (!truthy(input)) return generator({});  // as jinja2: of none, too
  std::vector<Value> out;
  const auto named = [&](const char* name) {
    const auto place = std::find_if(args.named.begin(), args.named.end(),
                                    [&](const auto& n) { return n.first == name; });
    return place == args.named.end() ? std::nullopt : std::optional<Value>(place->second);
  };
  if (args.positional.empty() && named("attribute")) {
    const Value path = *named("attribute");
    const auto otherwise = named("default");
    for (const Value& item : elements(input, run.budget())) {
      Value value = attribute_path(run, item, path);
      out.push_back(value.is_undefined() && otherwise && !otherwise->is_none() ? *otherwise
                                                                               : value);
    }
    return generator(std::move(out));
  }
  if (args.positional.empty() || !args.positional[0].as_string())
    throw Problem("map requires a filter argument");
  const std::string name = *args.positional[0].as_string();
  Arguments rest{{args.positional.begin() + 1, args.positional.end()}, args.named};
  for (const Value& item : elements(input, run.budget())) {
    Arguments its_own = rest;
    out.push_back(run.filter(name, item, its_own));
  }
  return generator(std::move(out));
}

// select, reject, selectattr, rejectattr.
template <bool wanted, bool by_attribute>
Value choose(Run& run, const Value& input, Args& args) {
  if (!truthy(input)) return generator({});
  if (by_attribute && args.positional.empty())
    throw Problem("Missing parameter for attribute name");
  const size_t skip = by_attribute ? 1 : 0;
  const bool has_test = args.positional.size() > skip;
  const std::string name = has_test ? str(args.positional[skip], run.budget()) : "";
  Arguments rest{{args.positional.begin() + static_cast<std::ptrdiff_t>(has_test ? skip + 1 : skip),
                  args.positional.end()},
                 args.named};
  std::vector<Value> out;
  for (const Value& item : elements(input, run.budget())) {
    const Value subject = by_attribute ? attribute_path(run, item, args.positional[0]) : item;
    Arguments its_own = rest;
    if ((has_test ? run.test(name, subject, its_own) : truthy(subject)) == wanted)
      out.push_back(item);
  }
  return generator(std::move(out));
}

Value items(Run& run, const Value& input, Args& args) {
  args.bind("items", {});
  if (input.is_undefined()) return generator({});
  const Dict* dict = input.as<Dict>();
  if (!dict) throw Problem("Can only get item pairs from a mapping.");
  std::vector<Value> out;
  for (const auto& [key, value] : dict->entries()) {
    run.budget().spend(4 * sizeof(Value));
    out.push_back(Value::sequence(Sequence::Flavour::kTuple, {key, value}));
  }
  return generator(std::move(out));
}

// Stable, by keys that compare() orders.
std::vector<Value> sorted(Run& run, std::vector<std::pair<Value, Value>> keyed, bool descending) {
  run.budget().spend(keyed.size() * 4 * sizeof(Value));
  if (descending) std::reverse(keyed.begin(), keyed.end());
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return compare(a.first, b.first, "<", run.budget()) < 0;
  });
  if (descending) std::reverse(keyed.begin(), keyed.end());
  std::vector<Value> out;
  for (auto& [key, value] : keyed) out.push_back(std::move(value));
  return out;
}

Value dictsort(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("dictsort", {"case_sensitive", "by", "reverse"});
  const std::string by = bound[1] ? str(*bound[1], run.budget()) : "key";
  if (by != "key" && by != "value")
    throw Problem("You can only sort by either \"key\" or \"value\"");
  const Dict* dict = input.as<Dict>();
  if (!dict) throw Problem(fmt::format("dictsort expects a mapping, not {}", type_name(input)));
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [key, value] : dict->entries()) {
    keyed.emplace_back(without_case(run, by == "key" ? key : value, flag(bound[0])),
                       Value::sequence(Sequence::Flavour::kTuple, {key, value}));
  }
  return Value::list(sorted(run, std::move(keyed), flag(bound[2])));
}

Value sort(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("sort", {"reverse", "case_sensitive", "attribute"});
  std::vector<Value> paths = {bound[2].value_or(Value())};
  if (bound[2] && bound[2]->as_string()) {
    Arguments comma;
    comma.positional.push_back(Value::text(","));
    paths = elements(run.call(run.attribute(*bound[2], "split"), comma), run.budget());
  }
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : elements(input, run.budget())) {
    std::vector<Value> keys;
    for (const Value& path : paths)
      keys.push_back(without_case(run, attribute_path(run, item, path), flag(bound[1])));
    keyed.emplace_back(Value::list(std::move(keys)), item);
  }
  return Value::list(sorted(run, std::move(keyed), flag(bound[0])));
}

Value unique(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("unique", {"case_sensitive", "attribute"});
  Dict seen;
  std::vector<Value> out;
  for (const Value& item : elements(input, run.budget())) {
    const Value key =
        without_case(run, attribute_path(run, item, bound[1].value_or(Value())), flag(bound[0]));
    if (seen.find(key)) continue;
    seen.set(key, Value());
    out.push_back(item);
  }
  return generator(std::move(out));
}

template <bool largest>
Value extreme(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind(largest ? "max" : "min", {"case_sensitive", "attribute"});
  std::optional<Value> best, best_key;
  for (const Value& item : elements(input, run.budget())) {
    Value key =
        without_case(run, attribute_path(run, item, bound[1].value_or(Value())), flag(bound[0]));
    const bool better = !best || (largest ? compare(key, *best_key, ">", run.budget()) > 0
                                          : compare(key, *best_key, "<", run.budget()) < 0);
    if (!better) continue;
    best = item;
    best_key = std::move(key);
  }
  return best.value_or(Value::undefined("No aggregated item, sequence was empty."));
}

Value sum(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("sum", {"attribute", "start"});
  Value total = bound[1].value_or(Value(int64_t{0}));
  for (const Value& item : elements(input, run.budget()))
    total =
        arithmetic("+", total, attribute_path(run, item, bound[0].value_or(Value())), run.budget());
  return total;
}

Value batch(Run& run, const Value& input, Args& args) {
  const auto bound = args.bind("batch", {"linecount", "fill_with"}, 1);
  const auto size = bound[0]->as_index();
  if (!size || *size < 1) throw Problem("batch expects a positive number of items");
  std::vector<Value> out, row;
  for (const Value& item : elements(input, run.budget())) {
    if (static_cast<int64_t>(row.size()) == *size)
      out.push_back(Value::list(std::exchange(row, {})));
    row.push_back(item);
  }
  if (!row.empty()) {
    if (bound[1] && !bound[1]->is_none()) {
      run.budget().spend(static_cast<size_t>(*size) * sizeof(Value));
      row.resize(static_cast<size_t>(*size), *bound[1]);
    }
    out.push_back(Value::list(std::move(row)));
  }
  return generator(std::move(out));
}

const std::map<std::string, Function>& table() {
  static const std::map<std::string, Function> filters = [] {
    std::map<std::string, Function> out;
    add_text_filters(out);
    add_list_filters(out);
    return out;
  }();
  return filters;
}

const std::set<std::string> kOthers = {"attr",        "e",         "escape",    "filesizeformat",
                                       "forceescape", "format",    "groupby",   "pprint",
                                       "random",      "slice",     "striptags", "urlencode",
                                       "urlize",      "wordcount", "wordwrap",  "xmlattr"};

}  // namespace

void add_list_filters(std::map<std::string, Function>& out) {
  out.insert({{"join", join},
              {"first", first},
              {"last", last},
              {"list", list},
              {"reverse", reverse},
              {"map", map},
              {"select", choose<true, false>},
              {"reject", choose<false, false>},
              {"selectattr", choose<true, true>},
              {"rejectattr", choose<false, true>},
              {"items", items},
              {"dictsort", dictsort},
              {"sort", sort},
              {"unique", unique},
              {"min", extreme<false>},
              {"max", extreme<true>},
              {"sum", sum},
              {"batch", batch}});
}

Function find_filter(const std::string& name) {
  const auto place = table().find(name);
  return place == table().end() ? nullptr : place->second;
}

std::string suggest_filter(const std::string& name) {
  if (kOthers.contains(name)) return " in chat templates, though Jinja has one";
  std::vector<std::string> names;
  for (const auto& [known, unused] : table()) names.push_back(known);
  return core::suggestion(name, names);
}

}  // namespace ponder::policy::jinja
