// Regular expressions with the meaning that Oniguruma (Ruby syntax, UTF-8), the engine of
// `tokenizers`, gives them, run by PCRE2's JIT. Knows nothing of tokens.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ponder::policy {

// For the inside of a character class: what \w is to Rust's `regex` crate, which `tokenizers` uses
// where no pattern comes from the file (UTS #18, Annex C).
inline constexpr std::string_view kRustWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D})";

struct Match {
  size_t begin = 0;
  size_t end = 0;
};

// Immutable after construction; find_all may run in many threads at once.
class UnicodeRegex {
 public:
  // Throws UserError naming `place` when the pattern does not compile or uses what the two engines
  // read differently.
  UnicodeRegex(std::string_view pattern, const std::string& place);
  static UnicodeRegex literal(std::string_view text, const std::string& place);

  // All matches in `text` (valid UTF-8), from left to right, none overlapping; an empty match
  // directly after another match is left out. Throws UserError when PCRE2's limits on backtracking
  // are reached.
  void find_all(std::string_view text, std::vector<Match>& matches) const;

 private:
  std::shared_ptr<void> code_;
  std::string place_;
};

// The pattern rewritten from Oniguruma's syntax to PCRE2's. Seen by tests.
std::string to_pcre2(std::string_view oniguruma, const std::string& place);

}  // namespace ponder::policy
