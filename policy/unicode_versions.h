// Makes our Unicode libraries answer as those inside `tokenizers` do, whose Unicode version is
// another one: newer for categories (Oniguruma: 16, PCRE2 10.42: 14), older for normal forms (9).
// Tokens depend on it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ponder::policy {

// Byte offset of the first character whose category PCRE2 may not know, or npos. `text` is valid
// UTF-8.
size_t find_newer_category(std::string_view text);

// `text` with each such character replaced by an older one of the same category and length in
// bytes.
std::string with_stand_ins(std::string_view text);

// Calls for each stretch of `text` (valid UTF-8) in order: those to be normalized, and, between
// them, characters that `tokenizers`' normal forms leave alone. Their parts normalized apart make
// the whole normalized.
struct NormalStretch {
  std::string_view text;
  bool inert;
};
std::vector<NormalStretch> cut_at_inert(std::string_view text);

// The lower case of a letter that Unicode 14 does not know in lower case, or the letter itself.
char32_t newer_lower_case(char32_t letter);

}  // namespace ponder::policy
