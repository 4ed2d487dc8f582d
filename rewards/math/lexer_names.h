// The names that the lexer knows: commands of LaTeX, and words that mean the same in plain text.
#pragma once

#include <string_view>

#include "rewards/math/lexer.h"

namespace ponder::rewards::math {

enum class Command : uint8_t {
  kToken,        // one token
  kLetter,       // a Greek letter
  kSkip,         // spacing and styles: nothing
  kSkipGroup,    // nothing, and its braced argument neither
  kThin,         // a small space, which may stand between groups of digits
  kDelimiter,    // \left, \right, \big..: the next character is the delimiter
  kTextGroup,    // \text{..}
  kFontGroup,    // \mathrm{..}: letters that are text if several
  kVectorGroup,  // \mathbf{..}, \vec{..}
  kUnwrap,       // \boxed{..}, \hat{..}: only the argument counts
  kBlackboard,
  kBegin,
  kEnd,
};

struct KnownName {
  Command command = Command::kToken;
  Token token{};
};

// A command without its backslash; null if it is not known.
const KnownName* find_command(std::string_view name);
// A run of letters in plain text; null if it is not a known name.
const KnownName* find_word(std::string_view name);

}  // namespace ponder::rewards::math
