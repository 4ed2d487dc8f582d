// The functions that a chat template can call by name.
#include <ctime>
#include <map>

#include <fmt/format.h>

#include "policy/jinja/library.h"
#include "policy/jinja/operations.h"

namespace ponder::policy::jinja {
namespace {

constexpr size_t kRangeMax = 100000;  // as jinja2's sandbox has it

int64_t index_of(const Value& value) {
  if (const auto index = value.as_index()) return *index;
  throw Problem(fmt::format("'{}' object cannot be interpreted as an integer", type_name(value)));
}

Value range(Interpreter& run, Arguments& arguments) {
  const std::vector<Value>& given = arguments.positional;
  if (given.empty() || given.size() > 3 || !arguments.named.empty())
    throw Problem("range expected 1 to 3 arguments");
  const int64_t start = given.size() > 1 ? index_of(given[0]) : 0;
  const int64_t stop = index_of(given.size() > 1 ? given[1] : given[0]);
  const int64_t step = given.size() > 2 ? index_of(given[2]) : 1;
  if (step == 0) throw Problem("range() arg 3 must not be zero");
  std::vector<Value> items;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (items.size() == kRangeMax)
      throw Problem(fmt::format("Range too big: at most {} items", kRangeMax));
    items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  run.budget().spend(items.size() * sizeof(Value));
  return Value::sequence(Sequence::Flavour::kRange, std::move(items));
}

// dict(mapping or pairs, key=value, ...).
Dict make_dict(Interpreter& run, const Arguments& arguments) {
  Dict out;
  if (arguments.positional.size() > 1) throw Problem("dict expected at most 1 argument");
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    if (const Dict* dict = source.as<Dict>()) {
      run.budget().spend(dict->entries().size() * 2 * sizeof(Value));
      out = *dict;
    } else {
      for (const Value& pair : elements(source, run.budget())) {
        const std::vector<Value> both = elements(pair, run.budget());
        if (both.size() != 2) throw Problem("dict expects pairs");
        out.set(both[0], both[1]);
      }
    }
  }
  for (const auto& [key, value] : arguments.named) out.set(Value::text(key), value);
  return out;
}

Value make_namespace(Interpreter& run, Arguments& arguments) {
  const Dict dict = make_dict(run, arguments);
  Namespace* ns = run.new_namespace();
  for (const auto& [key, value] : dict.entries()) {
    const std::string* name = key.as_string();
    if (!name || name->starts_with('_'))
      throw Problem("a namespace takes names without a leading underscore");
    ns->attributes[*name] = value;
    ns->order.push_back(*name);
  }
  return Value(ns);
}

Value raise_exception(Interpreter& run, Arguments& arguments) {
  throw Problem("the template refuses: " +
                str(*arguments.bind("raise_exception()", {"message"}, 1)[0], run.budget()));
}

Value strftime_now(Interpreter& run, Arguments& arguments) {
  const std::string format = str(*arguments.bind("strftime_now()", {"format"}, 1)[0], run.budget());
  run.budget().spend(format.size() * 64);
  std::tm local{};
  const std::time_t now = run.now();
  localtime_r(&now, &local);
  // A blank at the end tells an empty result from a buffer that is too small.
  std::string out(format.size() * 64 + 64, '\0');
  out.resize(std::strftime(out.data(), out.size(), (format + " ").c_str(), &local));
  if (!out.empty()) out.pop_back();
  return Value::text(std::move(out));
}

using Global = Value (*)(Interpreter&, Arguments&);

}  // namespace

std::optional<Value> global_function(const std::string& name) {
  static const std::map<std::string, Global> functions = {
      {"range", range},
      {"dict", [](Interpreter& run,
                  Arguments& arguments) { return Value::dict(make_dict(run, arguments)); }},
      {"namespace", make_namespace},
      {"raise_exception", raise_exception},
      {"strftime_now", strftime_now}};
  for (const char* other : {"lipsum", "cycler", "joiner"}) {
    if (name == other)
      throw Problem(fmt::format("the function '{}' is not supported in a chat template", name));
  }
  const auto place = functions.find(name);
  if (place == functions.end()) return std::nullopt;
  return Value::callable({name, place->second});
}

}  // namespace ponder::policy::jinja
