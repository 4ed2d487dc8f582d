#include "policy/jinja/value.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "policy/jinja/operations.h"

namespace ponder::policy::jinja {
namespace {

// What a dict takes two keys to be one by.
std::string canonical_key(const Value& key) {
  if (const std::string* text = key.as_string()) return "s" + *text;
  if (key.is_none()) return "none";
  if (key.is_undefined()) return "undefined";
  if (const auto integer = key.as_index()) return fmt::format("n{}", *integer);
  if (const double* number = key.as<double>()) {
    if (std::floor(*number) == *number && std::abs(*number) < 9e18)
      return fmt::format("n{}", static_cast<int64_t>(*number));
    return fmt::format("f{}", float_text(*number));
  }
  throw Problem(fmt::format("'{}' cannot be a key of a dict", type_name(key)));
}

int deepest(const std::vector<Value>& items) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  return depth;
}

int one_deeper(int depth) {
  if (depth >= kValueDepthMax)
    throw Problem(fmt::format("values are nested deeper than {}", kValueDepthMax));
  return depth + 1;
}

}  // namespace

void Budget::spend(size_t units) {
  if (units > left_)
    throw Problem(
        "the template does too much work for one rendering: does a loop or a text grow without "
        "end?");
  left_ -= units;
}

void Dict::set(const Value& key, Value value) {
  depth_ = std::max(depth_, one_deeper(value.depth()));
  const auto [place, is_new] = index_.emplace(canonical_key(key), entries_.size());
  if (is_new) {
    entries_.emplace_back(key, std::move(value));
  } else {
    entries_[place->second].second = std::move(value);
  }
}

const Value* Dict::find(const Value& key) const {
  const auto place = index_.find(canonical_key(key));
  return place == index_.end() ? nullptr : &entries_[place->second].second;
}

const Value* Dict::find(std::string_view key) const {
  const auto place = index_.find("s" + std::string(key));
  return place == index_.end() ? nullptr : &entries_[place->second].second;
}

const std::vector<Dict::Entry>& Dict::entries() const {
  return entries_;
}

Value Value::undefined(std::string message) {
  return Value(std::make_shared<const Undefined>(Undefined{std::move(message)}));
}

Value Value::text(std::string utf8, bool markup) {
  return Value(std::make_shared<const Text>(Text{std::move(utf8), markup}));
}

Value Value::sequence(Sequence::Flavour flavour, std::vector<Value> items) {
  const int depth = one_deeper(deepest(items));
  return Value(std::make_shared<const Sequence>(Sequence{flavour, std::move(items), depth}));
}

Value Value::dict(Dict dict) {
  return Value(std::make_shared<const Dict>(std::move(dict)));
}

Value Value::callable(Callable callable) {
  one_deeper(callable.depth - 1);
  return Value(std::make_shared<const Callable>(std::move(callable)));
}

Value Value::from_json(const nlohmann::ordered_json& json, int depth) {
  if (depth >= kValueDepthMax) one_deeper(depth);
  switch (json.type()) {
    case nlohmann::ordered_json::value_t::boolean:
      return Value(json.get<bool>());
    case nlohmann::ordered_json::value_t::number_unsigned:
      if (json.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
        throw Problem(fmt::format("the number {} is beyond 64 bits", json.dump()));
      [[fallthrough]];
    case nlohmann::ordered_json::value_t::number_integer:
      return Value(json.get<int64_t>());
    case nlohmann::ordered_json::value_t::number_float:
      return Value(json.get<double>());
    case nlohmann::ordered_json::value_t::string:
      return text(json.get<std::string>());
    case nlohmann::ordered_json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const auto& item : json) items.push_back(from_json(item, depth + 1));
      return list(std::move(items));
    }
    case nlohmann::ordered_json::value_t::object: {
      Dict entries;
      for (const auto& [key, value] : json.items())
        entries.set(text(key), from_json(value, depth + 1));
      return dict(std::move(entries));
    }
    default:
      return {};
  }
}

Namespace* Value::as_namespace() const {
  Namespace* const* held = std::get_if<Namespace*>(&variant_);
  return held ? *held : nullptr;
}

const std::string* Value::as_string() const {
  const Text* held = as<Text>();
  return held ? &held->utf8 : nullptr;
}

std::optional<int64_t> Value::as_index() const {
  if (const int64_t* integer = as<int64_t>()) return *integer;
  if (const bool* boolean = as<bool>()) return *boolean ? 1 : 0;
  return std::nullopt;
}

std::optional<double> Value::as_number() const {
  if (const double* number = as<double>()) return *number;
  if (const auto integer = as_index()) return static_cast<double>(*integer);
  return std::nullopt;
}

int Value::depth() const {
  if (const Sequence* sequence = as<Sequence>()) return sequence->depth;
  if (const Dict* dict = as<Dict>()) return dict->depth();
  if (const Callable* callable = as<Callable>()) return callable->depth;
  return 0;
}

bool Value::same_object(const Value& other) const {
  if (variant_.index() != other.variant_.index()) return false;
  if (const bool* boolean = as<bool>()) return *boolean == *other.as<bool>();
  if (const int64_t* integer = as<int64_t>()) return *integer == *other.as<int64_t>();
  if (is_none()) return true;
  if (as<double>()) return this == &other;
  if (as_namespace()) return as_namespace() == other.as_namespace();
  if (const std::string* text = as_string()) return *text == *other.as_string();
  if (as<Sequence>()) return as<Sequence>() == other.as<Sequence>();
  if (as<Dict>()) return as<Dict>() == other.as<Dict>();
  if (as<Callable>()) return as<Callable>() == other.as<Callable>();
  return as<Undefined>() == other.as<Undefined>();
}

std::vector<std::optional<Value>> Arguments::bind(const char* function,
                                                  std::vector<const char*> names,
                                                  size_t required) const {
  if (positional.size() > names.size()) {
    throw Problem(fmt::format("{} takes at most {} argument{} ({} given)", function, names.size(),
                              names.size() == 1 ? "" : "s", positional.size()));
  }
  std::vector<std::optional<Value>> bound(names.size());
  for (size_t i = 0; i < positional.size(); ++i) bound[i] = positional[i];
  for (const auto& [name, value] : named) {
    const auto place =
        std::find_if(names.begin(), names.end(), [&](const char* n) { return name == n; });
    if (place == names.end())
      throw Problem(fmt::format("{} got an unexpected keyword argument '{}'", function, name));
    std::optional<Value>& slot = bound[static_cast<size_t>(place - names.begin())];
    if (slot)
      throw Problem(fmt::format("{} got multiple values for argument '{}'", function, name));
    slot = value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (!bound[i]) throw Problem(fmt::format("{} misses its argument '{}'", function, names[i]));
  }
  return bound;
}

}  // namespace ponder::policy::jinja
