// Python that a prompt gives beside the function to write.
#pragma once

#include <string>
#include <string_view>

namespace ponder::rewards {

// The imports and top-level definitions of `prompt` (code, or text around code), without
// `entry_point`'s own, where `tests` use one of these definitions; else "". Reads lines, no
// grammar: a definition is its first line, its decorators and the indented or empty lines behind
// it.
std::string prompt_helpers(std::string_view prompt, std::string_view entry_point,
                           std::string_view tests);

// Whether `code` defines `name` at its left margin.
bool defines(std::string_view code, std::string_view name);

// Whether `code` defines something anew that `helpers` define.
bool redefines(std::string_view code, std::string_view helpers);

}  // namespace ponder::rewards
