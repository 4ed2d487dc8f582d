// UTF-8 for the tokenizer: reading code points, and replacing what is ill-formed by U+FFFD.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ponder::policy {

struct CodePoint {
  char32_t value = 0;
  int bytes = 0;  // 1..4
};

// What stands at the start of `text` (which is not empty). A well-formed character gives its
// length; an ill-formed part gives bytes < 0: minus the length of the maximal subpart (Unicode 15,
// section 3.9, table 3-8) that one U+FFFD replaces.
CodePoint next_code_point(std::string_view text);

// Length of the run of ASCII at the start of `text`.
size_t ascii_prefix(std::string_view text);

bool is_utf8(std::string_view text);

// `text` with each maximal ill-formed subpart replaced by U+FFFD, as Python's errors="replace"
// does.
std::string replace_ill_formed(std::string_view text);

// Bytes at the end of `text` that are the proper beginning of one more character: 0..3.
size_t unfinished_suffix(std::string_view text);

void append_utf8(char32_t code_point, std::string& text);

}  // namespace ponder::policy
