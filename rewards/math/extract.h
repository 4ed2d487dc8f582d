// Where is the answer in a completion? One pass from the end over the whole text, linear in its
// length. It knows nothing of mathematics beyond the spelling of \boxed, $..$ and numbers.
#pragma once

#include <string>
#include <string_view>

namespace ponder::rewards::math {

enum class Found {
  kNothing,
  kMalformed,  // the last box or <answer> is never closed: no earlier one stands in for it
  kBox,        // \boxed{..}; boxes joined by "and", "or" or a comma are one list
  kMarker,     // "#### 42", "A: 42" on its own line
  kAnchor,     // behind "the answer is", "answer:"
  kMath,       // the last $..$, \(..\), \[..\]
  kBare,       // the whole text is the answer
  kNumber,     // the last number in the text
};

struct Extracted {
  Found found = Found::kNothing;
  std::string text;
};

// The last answer in the text behind the last </think> (all of it where there is none; none in a
// <think> that is never closed), and within the last <answer>..</answer> where there is one. Order:
// box, marker, anchor, the whole if it is short mathematics, last formula, last number.
Extracted extract_answer(std::string_view completion);

// A gold: its boxes if it has any, what follows "####", else all of it.
Extracted extract_gold(std::string_view gold);

// How many \boxed{..} are closed; a box in a box counts for itself.
int count_boxes(std::string_view text);

// The last number in the text that is not part of a word; empty if there is none.
std::string_view last_number(std::string_view text);

}  // namespace ponder::rewards::math
