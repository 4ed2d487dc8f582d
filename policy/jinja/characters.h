// Python's view of a string: code points, its white space, its lines, its case. Texts are valid
// UTF-8. Case mappings are Unicode's simple ones (one code point to one), besides sharp s to "SS".
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ponder::policy::jinja {

size_t count_characters(std::string_view text);
std::vector<std::string_view> characters(std::string_view text);
char32_t code_point(std::string_view character);

bool is_space(char32_t c);       // str.isspace
bool is_line_break(char32_t c);  // where str.splitlines breaks, besides \r\n
bool is_printable(char32_t c);   // str.isprintable
bool is_alpha(char32_t c);
bool is_decimal(char32_t c);  // str.isdecimal
bool is_upper(char32_t c);
bool is_lower(char32_t c);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);

enum class Side { kLeft = 1, kRight = 2, kBoth = 3 };
// Without white space on the sides, or without the characters of `of` where it is given.
std::string_view strip(std::string_view text, Side side, const std::string_view* of = nullptr);

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends = false);

}  // namespace ponder::policy::jinja
