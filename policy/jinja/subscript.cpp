// obj[key] and obj[start:stop:step].
#include <algorithm>

#include <fmt/format.h>

#include "policy/jinja/characters.h"
#include "policy/jinja/operations.h"

namespace ponder::policy::jinja {
namespace {

bool indexable(const Sequence& s) {
  using F = Sequence::Flavour;
  return s.flavour == F::kList || s.flavour == F::kTuple || s.flavour == F::kRange;
}

Value missing_item(const Value& object, const Value& key, Budget& budget) {
  const std::string* name = key.as_string();
  const std::string what = object.is_none() ? "None" : fmt::format("{} object", type_name(object));
  if (name) return Value::undefined(fmt::format("'{}' has no attribute '{}'", what, *name));
  return Value::undefined(fmt::format("{} has no element {}", what, repr(key, budget)));
}

std::optional<size_t> position(int64_t index, size_t size) {
  const auto length = static_cast<int64_t>(size);
  if (index < 0) index += length;
  if (index < 0 || index >= length) return std::nullopt;
  return static_cast<size_t>(index);
}

// Python's slice.indices: the positions a slice takes, in order.
std::vector<size_t> positions(const Value& start, const Value& stop, const Value& step,
                              size_t size) {
  const auto bound = [](const Value& v) -> std::optional<int64_t> {
    if (v.is_none()) return std::nullopt;
    if (!v.as_index())
      throw Problem("slice indices must be integers or None or have an __index__ method");
    return *v.as_index();
  };
  const int64_t length = static_cast<int64_t>(size), stride = bound(step).value_or(1);
  if (stride == 0) throw Problem("slice step cannot be zero");
  const int64_t low = stride < 0 ? -1 : 0, high = stride < 0 ? length - 1 : length;
  const auto clamp = [&](std::optional<int64_t> v, int64_t otherwise) {
    if (!v) return otherwise;
    if (*v < 0) return std::max(*v + length, low);
    return std::min(*v, high);
  };
  const int64_t first = clamp(bound(start), stride < 0 ? high : low);
  const int64_t last = clamp(bound(stop), stride < 0 ? low : high);
  std::vector<size_t> out;
  for (int64_t i = first; stride > 0 ? i < last : i > last;) {
    out.push_back(static_cast<size_t>(i));
    if (__builtin_add_overflow(i, stride, &i)) break;
  }
  return out;
}

}  // namespace

Value item_of(const Value& object, const Value& key, Budget& budget) {
  if (const Undefined* undefined = object.as<Undefined>()) throw Problem(undefined->message);
  if (const Dict* dict = object.as<Dict>()) {
    const bool hashable = !key.as<Sequence>() && !key.as<Dict>();
    const Value* value = hashable ? dict->find(key) : nullptr;
    return value ? *value : missing_item(object, key, budget);
  }
  const auto index = key.as_index();
  if (const Sequence* s = object.as<Sequence>(); s && index && indexable(*s)) {
    const auto at = position(*index, s->items.size());
    return at ? s->items[*at] : missing_item(object, key, budget);
  }
  if (const Text* text = object.as<Text>(); text && index) {
    budget.spend(text->utf8.size());
    const std::vector<std::string_view> all = characters(text->utf8);
    const auto at = position(*index, all.size());
    return at ? Value::text(std::string(all[*at]), text->markup)
              : missing_item(object, key, budget);
  }
  return missing_item(object, key, budget);
}

Value slice_of(const Value& object, const Value& start, const Value& stop, const Value& step,
               Budget& budget) {
  if (const Undefined* undefined = object.as<Undefined>()) throw Problem(undefined->message);
  if (const Sequence* s = object.as<Sequence>(); s && indexable(*s)) {
    std::vector<Value> items;
    for (const size_t at : positions(start, stop, step, s->items.size()))
      items.push_back(s->items[at]);
    budget.spend(s->items.size() + items.size() * sizeof(Value));
    return Value::sequence(s->flavour, std::move(items));
  }
  if (const Text* text = object.as<Text>()) {
    budget.spend(2 * text->utf8.size());
    const std::vector<std::string_view> all = characters(text->utf8);
    std::string out;
    for (const size_t at : positions(start, stop, step, all.size())) out += all[at];
    return Value::text(std::move(out), text->markup);
  }
  if (object.as<Dict>()) throw Problem("unhashable type: 'slice'");
  throw Problem(fmt::format("'{}' object is not subscriptable", type_name(object)));
}

}  // namespace ponder::policy::jinja
