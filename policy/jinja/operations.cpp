#include "policy/jinja/operations.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "policy/jinja/characters.h"

namespace ponder::policy::jinja {
namespace {

// Fails as Python's operators do on an Undefined.
void check_defined(const Value& value) {
  if (const Undefined* undefined = value.as<Undefined>()) throw Problem(undefined->message);
}

[[noreturn]] void unsupported(const std::string& op, const Value& a, const Value& b) {
  check_defined(a);
  check_defined(b);
  throw Problem(fmt::format("unsupported operand type(s) for {}: '{}' and '{}'", op, type_name(a),
                            type_name(b)));
}

bool is_tuple(const Sequence& s) {
  return s.flavour == Sequence::Flavour::kTuple;
}

bool comparable(const Sequence& a, const Sequence& b) {
  using F = Sequence::Flavour;
  const auto plain = [](F f) { return f == F::kList || f == F::kTuple || f == F::kRange; };
  return a.flavour == b.flavour && plain(a.flavour);
}

bool equal_sequences(const Sequence& a, const Sequence& b, Budget& budget) {
  if (&a == &b) return true;
  if (!comparable(a, b) || a.items.size() != b.items.size()) return false;
  for (size_t i = 0; i < a.items.size(); ++i) {
    if (!equal(a.items[i], b.items[i], budget)) return false;
  }
  return true;
}

bool equal_dicts(const Dict& a, const Dict& b, Budget& budget) {
  if (&a == &b) return true;
  if (a.entries().size() != b.entries().size()) return false;
  for (const auto& [key, value] : a.entries()) {
    const Value* other = b.find(key);
    if (!other || !equal(value, *other, budget)) return false;
  }
  return true;
}

// By reference: the result is written while the arguments are evaluated.
int64_t checked(bool overflow, const int64_t& result) {
  if (overflow) throw Problem("integers beyond 64 bits are not supported");
  return result;
}

int64_t floor_divide(int64_t a, int64_t b) {
  const int64_t quotient = a / b;
  return quotient - ((a % b != 0) && ((a < 0) != (b < 0)));
}

Value integer_power(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) throw Problem("0.0 cannot be raised to a negative power");
    return Value(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  int64_t result = 1;
  for (int64_t i = 0; i < exponent && base != 1; ++i) {
    if (base == 0 || (base == -1 && i >= 2)) {
      return Value(base == 0 ? int64_t{0} : (exponent % 2 == 0 ? int64_t{1} : int64_t{-1}));
    }
    result = checked(__builtin_mul_overflow(result, base, &result), result);
  }
  return Value(result);
}

Value integer_arithmetic(const std::string& op, int64_t a, int64_t b) {
  int64_t result = 0;
  if (op == "+") return Value(checked(__builtin_add_overflow(a, b, &result), result));
  if (op == "-") return Value(checked(__builtin_sub_overflow(a, b, &result), result));
  if (op == "*") return Value(checked(__builtin_mul_overflow(a, b, &result), result));
  if (op == "**") return integer_power(a, b);
  if (b == 0) throw Problem(op == "/" ? "division by zero" : "integer division or modulo by zero");
  if (op == "/") return Value(static_cast<double>(a) / static_cast<double>(b));
  if (b == -1)
    return Value(op == "//" ? checked(__builtin_sub_overflow(int64_t{0}, a, &result), result)
                            : int64_t{0});
  return Value(op == "//" ? floor_divide(a, b) : a - floor_divide(a, b) * b);
}

Value float_arithmetic(const std::string& op, double a, double b) {
  if (op == "+") return Value(a + b);
  if (op == "-") return Value(a - b);
  if (op == "*") return Value(a * b);
  if (op == "**") {
    if (a == 0 && b < 0) throw Problem("0.0 cannot be raised to a negative power");
    const double power = std::pow(a, b);
    if (std::isnan(power) && !std::isnan(a) && !std::isnan(b))
      throw Problem("complex numbers are not supported");
    if (std::isinf(power) && !std::isinf(a) && !std::isinf(b))
      throw Problem("(34, 'Numerical result out of range')");
    return Value(power);
  }
  if (b == 0)
    throw Problem(op == "/"    ? "float division by zero"
                  : op == "//" ? "float floor division by zero"
                               : "float modulo");
  if (op == "/") return Value(a / b);
  double remainder = std::fmod(a, b);
  if (remainder != 0 && (b < 0) != (remainder < 0)) remainder += b;
  if (remainder == 0) remainder = std::copysign(0.0, b);
  if (op == "%") return Value(remainder);
  const double quotient = (a - remainder) / b;
  if (quotient == 0) return Value(std::copysign(0.0, a / b));
  const double floored = std::floor(quotient);
  return Value(quotient - floored > 0.5 ? floored + 1 : floored);
}

Value repeated(const Value& what, int64_t times, Budget& budget) {
  const size_t count = times > 0 ? static_cast<size_t>(times) : 0;
  if (const Text* text = what.as<Text>()) {
    if (text->utf8.empty()) return what;
    budget.spend(count);
    std::string out;
    for (size_t i = 0; i < count; ++i) {
      budget.spend(text->utf8.size());
      out += text->utf8;
    }
    return Value::text(std::move(out), text->markup);
  }
  const Sequence& sequence = *what.as<Sequence>();
  std::vector<Value> items;
  if (!sequence.items.empty()) budget.spend(count);
  for (size_t i = 0; i < count && !sequence.items.empty(); ++i) {
    budget.spend(sequence.items.size() * sizeof(Value));
    items.insert(items.end(), sequence.items.begin(), sequence.items.end());
  }
  return Value::sequence(sequence.flavour, std::move(items));
}

Value added(const Value& a, const Value& b, Budget& budget) {
  const Text *left = a.as<Text>(), *right = b.as<Text>();
  if (left && right) {
    budget.spend(left->utf8.size() + right->utf8.size());
    const bool markup = left->markup || right->markup;
    const auto part = [&](const Text& t) {
      return markup && !t.markup ? escape_html(t.utf8) : t.utf8;
    };
    return Value::text(part(*left) + part(*right), markup);
  }
  const Sequence *first = a.as<Sequence>(), *second = b.as<Sequence>();
  if (first && second && comparable(*first, *second) &&
      first->flavour != Sequence::Flavour::kRange) {
    budget.spend((first->items.size() + second->items.size()) * sizeof(Value));
    std::vector<Value> items = first->items;
    items.insert(items.end(), second->items.begin(), second->items.end());
    return Value::sequence(first->flavour, std::move(items));
  }
  check_defined(a);
  check_defined(b);
  if (left)
    throw Problem(fmt::format("can only concatenate str (not \"{}\") to str", type_name(b)));
  if (first && comparable(*first, *first) && first->flavour != Sequence::Flavour::kRange)
    throw Problem(
        fmt::format("can only concatenate {0} (not \"{1}\") to {0}", type_name(a), type_name(b)));
  unsupported("+", a, b);
}

bool repeatable(const Value& v) {
  const Sequence* s = v.as<Sequence>();
  return v.as<Text>() || (s && (s->flavour == Sequence::Flavour::kList || is_tuple(*s)));
}

}  // namespace

bool truthy(const Value& value) {
  if (const bool* boolean = value.as<bool>()) return *boolean;
  if (const int64_t* integer = value.as<int64_t>()) return *integer != 0;
  if (const double* number = value.as<double>()) return *number != 0;
  if (const std::string* text = value.as_string()) return !text->empty();
  if (const Sequence* s = value.as<Sequence>())
    return s->flavour == Sequence::Flavour::kGenerator || !s->items.empty();
  if (const Dict* dict = value.as<Dict>()) return !dict->entries().empty();
  return !value.is_none() && !value.is_undefined();
}

bool equal(const Value& a, const Value& b, Budget& budget) {
  budget.spend(1);
  const std::string *left = a.as_string(), *right = b.as_string();
  if (left || right) {
    if (!left || !right) return false;
    budget.spend(std::min(left->size(), right->size()) / 16);
    return *left == *right;
  }
  if (a.as<double>() || b.as<double>()) {
    const auto x = a.as_number(), y = b.as_number();
    return x && y && *x == *y;
  }
  if (a.as_index() || b.as_index()) return a.as_index() == b.as_index();
  if (a.as<Sequence>() && b.as<Sequence>())
    return equal_sequences(*a.as<Sequence>(), *b.as<Sequence>(), budget);
  if (a.as<Dict>() && b.as<Dict>()) return equal_dicts(*a.as<Dict>(), *b.as<Dict>(), budget);
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  return a.same_object(b);
}

int compare(const Value& a, const Value& b, const char* sign, Budget& budget) {
  budget.spend(1);
  if (a.as_index() && b.as_index())
    return *a.as_index() < *b.as_index() ? -1 : *a.as_index() > *b.as_index();
  if (a.as_number() && b.as_number()) {
    const double x = *a.as_number(), y = *b.as_number();
    // No order with a NaN: say the answer that makes the comparison false.
    if (std::isnan(x) || std::isnan(y)) return sign[0] == '<' ? 1 : -1;
    return x < y ? -1 : x > y;
  }
  if (a.as_string() && b.as_string()) return a.as_string()->compare(*b.as_string());
  const Sequence *s = a.as<Sequence>(), *t = b.as<Sequence>();
  if (s && t && comparable(*s, *t) && s->flavour != Sequence::Flavour::kRange) {
    const size_t common = std::min(s->items.size(), t->items.size());
    for (size_t i = 0; i < common; ++i) {
      if (!equal(s->items[i], t->items[i], budget))
        return compare(s->items[i], t->items[i], sign, budget);
    }
    return s->items.size() < t->items.size() ? -1 : s->items.size() > t->items.size();
  }
  check_defined(a);
  check_defined(b);
  throw Problem(fmt::format("'{}' not supported between instances of '{}' and '{}'", sign,
                            type_name(a), type_name(b)));
}

bool contains(const Value& container, const Value& item, Budget& budget) {
  if (const std::string* text = container.as_string()) {
    if (!item.as_string()) {
      throw Problem(
          fmt::format("'in <string>' requires string as left operand, not {}", type_name(item)));
    }
    budget.spend(text->size());
    return text->find(*item.as_string()) != std::string::npos;
  }
  if (const Dict* dict = container.as<Dict>()) return dict->find(item) != nullptr;
  if (const Sequence* s = container.as<Sequence>();
      s && s->flavour != Sequence::Flavour::kGenerator) {
    budget.spend(s->items.size());
    return std::any_of(s->items.begin(), s->items.end(),
                       [&](const Value& v) { return equal(v, item, budget); });
  }
  if (container.as_namespace() || container.is_none() || container.as_number() ||
      container.as<Callable>())
    throw Problem(fmt::format("argument of type '{}' is not iterable", type_name(container)));
  const std::vector<Value> items = elements(container, budget);
  return std::any_of(items.begin(), items.end(),
                     [&](const Value& v) { return equal(v, item, budget); });
}

std::vector<Value> elements(const Value& value, Budget& budget) {
  if (const Sequence* s = value.as<Sequence>()) {
    budget.spend(s->items.size() * sizeof(Value));
    const size_t begin = s->consumed;
    if (s->flavour == Sequence::Flavour::kGenerator) s->consumed = s->items.size();
    return {s->items.begin() + static_cast<std::ptrdiff_t>(begin), s->items.end()};
  }
  std::vector<Value> items;
  if (const Dict* dict = value.as<Dict>()) {
    budget.spend(dict->entries().size() * sizeof(Value));
    for (const auto& [key, unused] : dict->entries()) items.push_back(key);
  } else if (const Text* text = value.as<Text>()) {
    budget.spend(text->utf8.size() * sizeof(Value));
    for (const std::string_view c : characters(text->utf8))
      items.push_back(Value::text(std::string(c), text->markup));
  } else if (!value.is_undefined()) {
    throw Problem(fmt::format("'{}' object is not iterable", type_name(value)));
  }
  return items;
}

size_t length(const Value& value) {
  if (const std::string* text = value.as_string()) return count_characters(*text);
  if (const Dict* dict = value.as<Dict>()) return dict->entries().size();
  if (const Sequence* s = value.as<Sequence>(); s && s->flavour != Sequence::Flavour::kGenerator)
    return s->items.size();
  if (value.is_undefined()) return 0;
  throw Problem(fmt::format("object of type '{}' has no len()", type_name(value)));
}

Value arithmetic(const std::string& op, const Value& a, const Value& b, Budget& budget) {
  if (a.as_index() && b.as_index()) return integer_arithmetic(op, *a.as_index(), *b.as_index());
  if (a.as_number() && b.as_number()) return float_arithmetic(op, *a.as_number(), *b.as_number());
  if (op == "+") return added(a, b, budget);
  if (op == "*" && repeatable(a) && b.as_index()) return repeated(a, *b.as_index(), budget);
  if (op == "*" && repeatable(b) && a.as_index()) return repeated(b, *a.as_index(), budget);
  if (op == "%" && a.as_string())
    throw Problem("formatting with % is not supported: use ~ or the filter replace");
  unsupported(op == "**" ? "** or pow()" : op, a, b);
}

Value negated(const Value& value) {
  if (const auto integer = value.as_index()) return integer_arithmetic("-", 0, *integer);
  if (const double* number = value.as<double>()) return Value(-*number);
  check_defined(value);
  throw Problem(fmt::format("bad operand type for unary -: '{}'", type_name(value)));
}

}  // namespace ponder::policy::jinja
