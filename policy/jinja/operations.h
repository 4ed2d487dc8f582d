// What Python does with values: truth, equality, order, arithmetic, text. All throw Problem with
// CPython's words where the operation is not defined; all that can grow is paid for from the
// budget.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "policy/jinja/value.h"

namespace ponder::policy::jinja {

const char* type_name(const Value& value);  // "str", "int", "dict", ...
bool truthy(const Value& value);
bool equal(const Value& a, const Value& b, Budget& budget);
// Negative, 0, positive. `sign` ("<") is named in the Problem.
int compare(const Value& a, const Value& b, const char* sign, Budget& budget);
bool contains(const Value& container, const Value& item, Budget& budget);

// What `for` goes through: items, keys of a dict, characters of a string. Takes a generator's rest.
std::vector<Value> elements(const Value& value, Budget& budget);
size_t length(const Value& value);

std::string str(const Value& value, Budget& budget);
std::string repr(const Value& value, Budget& budget);
void append_str(std::string& out, const Value& value, Budget& budget);

struct JsonStyle {
  bool ensure_ascii = false;
  std::optional<std::string> indent;  // of a level
  std::string item_separator = ", ", key_separator = ": ";
  bool sort_keys = false;
};
// json.dumps.
std::string to_json(const Value& value, const JsonStyle& style, Budget& budget);

// `op`: + - * / // % **
Value arithmetic(const std::string& op, const Value& a, const Value& b, Budget& budget);
Value negated(const Value& value);

// obj[key] and obj[start:stop:step]; none for a bound that is not given. Undefined where there is
// no such item.
Value item_of(const Value& object, const Value& key, Budget& budget);
Value slice_of(const Value& object, const Value& start, const Value& stop, const Value& step,
               Budget& budget);

// The shortest decimal that reads back as `value`, in Python's form ("1e-05", "0.5", "2.0").
std::string float_text(double value);
// Python's int(text, base) and float(text); none where it is no number.
std::optional<int64_t> parse_integer(std::string_view text, int base);
std::optional<double> parse_float(std::string_view text);

std::string escape_html(std::string_view text);

}  // namespace ponder::policy::jinja
