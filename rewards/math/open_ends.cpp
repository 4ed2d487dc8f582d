#include "rewards/math/open_ends.h"

#include <algorithm>

namespace ponder::rewards::math {
namespace {

bool is_square(const Token& token) {
  return (token.kind == Tok::kOpen && token.ch == '[') ||
         (token.kind == Tok::kClose && token.ch == ']');
}

// The end of the interval that a bracket at `start` opens: the next square or unmatched round one,
// with one separator before it; 0 where there is none.
size_t interval_end(const std::vector<Token>& tokens, size_t start) {
  constexpr size_t kTokensMax = 200;  // keeps the search linear
  int depth = 0, separators = 0;
  for (size_t i = start + 1; i < std::min(tokens.size(), start + kTokensMax); ++i) {
    const Token& token = tokens[i];
    const bool closes = token.kind == Tok::kClose && !is_square(token);
    if (depth == 0 && (is_square(token) || (closes && token.ch == ')')))
      return separators == 1 ? i : 0;
    if (token.kind == Tok::kOpen && !is_square(token)) ++depth;
    if (closes) --depth;
    if (depth == 0 && (token.kind == Tok::kComma || token.kind == Tok::kConnective)) ++separators;
  }
  return 0;
}

}  // namespace

bool turn_open_ends(std::vector<Token>& tokens) {
  bool turned = false;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool round = tokens[i].kind == Tok::kOpen && tokens[i].ch == '(';
    if (!is_square(tokens[i]) && !round) continue;
    const size_t end = interval_end(tokens, i);
    if (end == 0) continue;
    Token &open = tokens[i], &close = tokens[end];
    turned = turned || open.kind == Tok::kClose || close.kind == Tok::kOpen;
    if (open.kind == Tok::kClose) open.kind = Tok::kOpen, open.ch = '(';
    if (close.kind == Tok::kOpen) close.kind = Tok::kClose, close.ch = ')';
    i = end;
  }
  return turned;
}

}  // namespace ponder::rewards::math
