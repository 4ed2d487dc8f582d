// What a template finds by name: filters, tests, methods and global functions. One table each.
#pragma once

#include <optional>
#include <string>

#include "policy/jinja/interpreter.h"

namespace ponder::policy::jinja {

// A filter, or a method with its object as input.
using Function = Value (*)(Interpreter& run, const Value& input, Arguments& arguments);
using TestFunction = bool (*)(Interpreter& run, const Value& input, Arguments& arguments);

Function find_filter(const std::string& name);        // null: unknown
TestFunction find_test(const std::string& name);      // null: unknown
std::string suggest_filter(const std::string& name);  // " (did you mean ...?)" or nothing
std::string suggest_test(const std::string& name);

// A method of a string, list or dict, bound to `object`; undefined for one that would change it;
// none where there is no such method. Throws Problem for one of Python's that we do not have.
std::optional<Value> method(const Value& object, const std::string& name);

// range, dict, namespace, raise_exception, strftime_now; none where there is no such function.
std::optional<Value> global_function(const std::string& name);

}  // namespace ponder::policy::jinja
