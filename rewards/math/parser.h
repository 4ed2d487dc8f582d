// One grammar for LaTeX, plain text and Python-like mathematics: tokens to an Arena. Recursion is
// bounded by a depth budget, so the stack is too; whatever does not fit is "not parsed", never a
// guess. It knows nothing of equality.
#pragma once

#include <string>
#include <string_view>

#include "rewards/math/expr.h"

namespace ponder::rewards::math {

struct Parsed {
  int root = -1;                 // -1: not parsed
  std::string failure;           // why, for a person
  bool comma_ambiguous = false;  // see Lexed
};

// `text` as normalise() returns it; the nodes go into `arena`.
Parsed parse(std::string_view text, bool comma_thousands, Arena& arena);

}  // namespace ponder::rewards::math
