// From text to tokens: LaTeX as models write it, plain text and Unicode symbols all become one
// alphabet. It knows nothing of grammar; where a comma or a blank joins groups of digits is decided
// here.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "rewards/math/expr.h"

namespace ponder::rewards::math {

enum class Tok : uint8_t {
  kNumber,  // text: digits with at most one '.'; extra: the repeating decimals; exponent: of ten,
            // as written
  kDigits,  // text: digits and letters of a number in a base above ten, A3 of A3_{16}
  kLetter,  // text: a variable's name, \alpha with its backslash
  kWord,    // text: two or more letters in a row that are no known name
  kText,    // text: the content of \text{..}: words
  kConstant,
  kFunction,  // op
  kName,      // text: an operator name that is not known (\lim, \operatorname{foo})
  kFrac,
  kSqrt,
  kBinom,
  kOver,
  kSum,
  kProd,
  kOverline,
  kPlus,
  kMinus,
  kPlusMinus,
  kMinusPlus,
  kTimes,
  kCross,
  kSlash,
  kMod,
  kCaret,
  kUnder,
  kBang,
  kPercent,
  kDegree,
  kPrime,
  kBar,
  kLeftBar,
  kRightBar,
  kOpen,
  kClose,  // ch: ( ) [ ] { } for groups, S s for \{ \}, f F c C for floor and ceiling
  kBegin,
  kEnd,  // text: the environment
  kAmp,
  kRow,
  kComma,
  kConnective,  // kConnective: "and", "or", a semicolon
  kRelation,    // rel
  kApprox,
  kColon,
  kEllipsis,
  kUnion,
  kIntersection,
  kDifference,
  kMid,
  kDot,
  kUnknown,
  kEnd_of_input,
};

struct Token {
  Tok kind = Tok::kEnd_of_input;
  Op op = Op::kNumber;
  Rel rel = Rel::kEq;
  char ch = 0;
  bool space = false;   // blank space stands before it
  bool vector = false;  // kLetter: bold or arrowed
  std::string text{}, extra{}, exponent{};
};

struct Lexed {
  std::vector<Token> tokens;  // ends with kEnd_of_input
  bool comma_ambiguous =
      false;  // a comma was taken for a thousands separator but may separate a list
};

// `comma_thousands`: 1,234 outside brackets is one number; otherwise a list of two.
Lexed lex(std::string_view text, bool comma_thousands);

// Unicode symbols to their LaTeX spelling, blanks to single spaces, "\\frac" to "\frac" where no
// matrix is near. Bytes that are no UTF-8, and control characters, become U+0001, which no token
// contains.
std::string normalise(std::string_view text);

}  // namespace ponder::rewards::math
