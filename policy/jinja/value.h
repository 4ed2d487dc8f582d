// The values of a Jinja template: Python's, as far as templates can see them. JSON comes in, text
// goes out. Semantics (truth, equality, order, str, repr, json.dumps) are CPython 3.11's; what is
// beyond 64-bit integers is a Problem. Everything that can grow is paid for from a Budget, so that
// no template can hang or fill the memory.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace ponder::policy::jinja {

// What is wrong with a template or its data. The interpreter adds file and line and makes a
// UserError of it.
class Problem : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Work that a rendering may still do: about one unit a byte made or copied. Throws Problem when
// spent.
class Budget {
 public:
  explicit Budget(size_t units) : left_(units) {}
  void spend(size_t units);

 private:
  size_t left_;
};

constexpr int kValueDepthMax = 100;  // lists in lists

class Value;
class Interpreter;
struct Arguments;

struct None {};

// A name or an attribute that is not there: prints as nothing, is false, fails in most operations
// with `message`.
struct Undefined {
  std::string message;
};

struct Text {
  std::string utf8;
  bool markup = false;  // `safe` was applied: what is added to it gets escaped for HTML
};

// Lists and what iterates like one. Never changed once shared, but for a generator's `consumed`.
struct Sequence {
  enum class Flavour { kList, kTuple, kRange, kView, kGenerator };
  Flavour flavour;
  std::vector<Value> items;
  int depth = 1;
  mutable size_t consumed = 0;  // of a generator: items already taken
};

// A dict in insertion order. Keys: strings, numbers, booleans, none.
class Dict {
 public:
  using Entry = std::pair<Value, Value>;
  void set(const Value& key, Value value);    // throws Problem for a key that cannot be one
  const Value* find(const Value& key) const;  // the same
  const Value* find(std::string_view key) const;
  const std::vector<Entry>& entries() const;
  int depth() const { return depth_; }

 private:
  std::vector<Entry> entries_;
  std::unordered_map<std::string, size_t> index_;  // by canonical key: 1, 1.0 and true are one
  int depth_ = 1;
};

// `namespace()`: the one thing that templates change. Owned by the interpreter.
struct Namespace {
  std::map<std::string, Value> attributes;
  std::vector<std::string> order;  // of first assignment
};

// A macro, a method bound to its object, a function of the environment, a loop.
struct Callable {
  std::string name;
  std::function<Value(Interpreter&, Arguments&)> call;
  std::function<std::optional<Value>(const std::string&)> attribute = {};  // none: not there
  int depth = 1;  // of the object that a method is bound to, plus 1
};

class Value {
 public:
  using Variant =
      std::variant<None, std::shared_ptr<const Undefined>, bool, int64_t, double,
                   std::shared_ptr<const Text>, std::shared_ptr<const Sequence>,
                   std::shared_ptr<const Dict>, Namespace*, std::shared_ptr<const Callable>>;
  Value() = default;  // none
  template <typename T>
  requires std::constructible_from<Variant, T>
  explicit Value(T value) : variant_(std::move(value)) {}

  static Value undefined(std::string message);
  static Value text(std::string utf8, bool markup = false);
  static Value list(std::vector<Value> items) {
    return sequence(Sequence::Flavour::kList, std::move(items));
  }
  static Value sequence(Sequence::Flavour flavour, std::vector<Value> items);
  static Value dict(Dict dict);
  static Value callable(Callable callable);
  // Throws Problem: nested too deeply, a number beyond 64 bits.
  static Value from_json(const nlohmann::ordered_json& json, int depth = 0);

  template <typename T>
  const T* as() const {  // null: another kind
    if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, int64_t> ||
                  std::is_same_v<T, double> || std::is_same_v<T, None>) {
      return std::get_if<T>(&variant_);
    } else {
      const auto* held = std::get_if<std::shared_ptr<const T>>(&variant_);
      return held ? held->get() : nullptr;
    }
  }
  Namespace* as_namespace() const;
  const std::string* as_string() const;     // null: no string
  std::optional<int64_t> as_index() const;  // integers and booleans
  std::optional<double> as_number() const;  // integers, booleans, floats
  bool is_none() const { return as<None>() != nullptr; }
  bool is_undefined() const { return as<Undefined>() != nullptr; }
  int depth() const;
  bool same_object(const Value& other) const;  // Python's `is`

 private:
  Variant variant_;
};

// Arguments of a call, as given.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  // The arguments of `function` by its parameters' `names`; none where one was not given. Throws
  // Problem for too many, unknown or doubled ones, and where one of the first `required` is
  // missing.
  std::vector<std::optional<Value>> bind(const char* function, std::vector<const char*> names,
                                         size_t required = 0) const;
};

}  // namespace ponder::policy::jinja
