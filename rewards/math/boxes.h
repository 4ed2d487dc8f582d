// The boxes of a completion, and the small tools that reading one takes. Knows nothing of what
// stands in a box.
#pragma once

#include <cstddef>
#include <string_view>

#include "rewards/math/extract.h"

namespace ponder::rewards::math {

inline constexpr size_t kMaxGap = 80;      // bytes between two boxes or formulas that are one list
inline constexpr size_t kMaxJoined = 100;  // boxes or formulas that are one list

inline bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
inline bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
inline bool is_letter(char c) {
  return (c | 32) >= 'a' && (c | 32) <= 'z';
}

inline std::string_view trim(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

struct Box {
  size_t start = std::string_view::npos, end = std::string_view::npos;  // of the whole command
  std::string_view content;
  bool closed = false;
};

// The last \boxed or \fbox that starts before `limit`; its start is npos where there is none.
Box last_box(std::string_view text, size_t limit);

// "and", ", ", "\) and \( y_2 =": nothing but a connective, formula marks and what names the next
// value stands between two boxes or formulas, so that they are one list.
bool joins(std::string_view gap);

// The last box, with those before it that it is one list with; kNothing where there is none.
Extracted boxes(std::string_view text);

}  // namespace ponder::rewards::math
