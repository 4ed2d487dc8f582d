#include "rewards/math/parser.h"

#include <algorithm>
#include <array>
#include <utility>

#include "rewards/math/open_ends.h"
#include "rewards/math/parser_impl.h"

namespace ponder::rewards::math {
namespace {

// Words that say more than a unit: "(or 43)", "or more", "and a half", "squared" without a unit
// before it, a variable.
bool says_more(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  if (text.starts_with("squared") || text.starts_with("cubed")) return true;
  if (text.size() == 1) return std::string_view("xyzn").find(text[0]) != std::string_view::npos;
  for (std::string_view word : {"or", "half"}) {
    const size_t at = text.find(word);
    const auto ends = [&](size_t i) { return i >= text.size() || text[i] == ' '; };
    if (at != std::string_view::npos && (at == 0 || ends(at - 1)) && ends(at + word.size()))
      return true;
  }
  char before = ' ';
  for (const char c : text) {
    if (c >= '0' && c <= '9' && (before == ' ' || before == '(')) return true;  // not cm2, m^2
    before = c;
  }
  return false;
}

}  // namespace

int Parser::fail(std::string_view why) {
  if (failure_.empty()) failure_ = why;
  if (arena_.size() == 0) arena_.number(0);
  position_ = tokens_.size() - 1;
  return 0;
}

int Parser::run() {
  while (next_is(Tok::kDot) || next_is(Tok::kColon)) advance();
  if (next_is(Tok::kEnd_of_input)) fail("nothing there");
  const int root = list();
  while (next_is(Tok::kDot) || next_is(Tok::kComma)) advance();
  if (!failed() && !next_is(Tok::kEnd_of_input))
    fail("unexpected \"" + surface(position_, position_ + 1) + "\"");
  return failed() ? -1 : root;
}

// What separates the members of a list: commas, "and", "or", line breaks, alone or together.
bool Parser::skip_separators(std::vector<Joint>& joints) {
  bool any = false;
  for (;; advance()) {
    switch (peek().kind) {
      case Tok::kConnective: {
        const std::string& word = peek().text;
        joints.push_back(word == "land"                     ? kLogicalAnd
                         : word == "lor"                    ? kLogicalOr
                         : word[0] == 'o' || word[0] == 'O' ? kOr
                         : word == ";"                      ? kPlain
                                                            : kAnd);
        break;
      }
      case Tok::kComma:
      case Tok::kRow:
      case Tok::kAmp:
        break;
      default:
        return any;
    }
    any = true;
  }
}

std::vector<int> Parser::elements(Joint* joint) {
  Deeper deeper(*this);
  std::vector<int> found;
  std::vector<Joint> joints;
  while (!failed()) {
    skip_separators(joints);
    if (next_is(Tok::kClose) || next_is(Tok::kEnd_of_input) || next_is(Tok::kEnd) ||
        next_is(Tok::kDot)) {
      break;
    }
    found.push_back(element());
    if (arena_.full()) fail("too many terms");
    if (!skip_separators(joints)) break;
  }
  const bool alike = !joints.empty() && std::all_of(joints.begin(), joints.end(), [&](Joint other) {
    return other == joints[0];
  });
  if (joint != nullptr) *joint = alike ? joints[0] : kPlain;
  return found;
}

int Parser::list() {
  Joint joint = kPlain;
  const std::vector<int> found = elements(&joint);
  if (failed()) return 0;
  if (found.empty()) return fail("nothing there");
  return found.size() == 1 ? found[0] : arena_.with_kids(Op::kList, found, joint);
}

// sides joined by = < <= ..; what follows an approximation sign is dropped.
int Parser::element() {
  if (next_is(Tok::kApprox)) advance();
  if (next_is(Tok::kRelation) && peek().rel == Rel::kEq) advance();  // "= 5"
  std::vector<int> sides{set_expression()};
  std::vector<Rel> signs;
  while (!failed()) {
    if (next_is(Tok::kRelation)) {
      signs.push_back(peek().rel);
      advance();
      sides.push_back(set_expression());
    } else if (accept(Tok::kApprox)) {
      const int value = set_expression();
      if (failed() || sides.size() > 1 || arena_[sides[0]].op != Op::kSymbol) continue;
      signs.push_back(Rel::kEq);  // x \approx 42
      sides.push_back(value);
    } else {
      break;
    }
  }
  if (failed()) return 0;
  return signs.empty() ? sides[0] : arena_.relation(sides, signs);
}

int Parser::set_expression() {
  int left = ratio();
  while (!failed()) {
    Op op;
    if (next_is(Tok::kUnion)) {
      op = Op::kUnion;
    } else if (next_is(Tok::kIntersection)) {
      op = Op::kIntersection;
    } else if (next_is(Tok::kDifference)) {
      op = Op::kDifference;
    } else {
      break;
    }
    advance();
    const int right = ratio();
    if (!failed()) left = arena_.with_kids(op, {left, right});
  }
  return left;
}

int Parser::ratio() {
  const int first = sum();
  if (failed() || !next_is(Tok::kColon)) return first;
  std::vector<int> parts{first};
  while (!failed() && accept(Tok::kColon)) parts.push_back(sum());
  return failed() ? 0 : arena_.with_kids(Op::kRatio, parts);
}

int Parser::sum() {
  int left = term();
  while (!failed()) {
    Op op;
    switch (peek().kind) {
      case Tok::kPlus:
        op = Op::kAdd;
        break;
      case Tok::kMinus:
        op = Op::kSub;
        break;
      case Tok::kPlusMinus:
        op = Op::kPlusMinus;
        break;
      case Tok::kMinusPlus:
        op = Op::kMinusPlus;
        break;
      default:
        return left;
    }
    advance();
    const int right = term();
    if (failed()) return 0;
    left = arena_.binary(op, left, right);
    if (arena_.full()) return fail("too many terms");
  }
  return 0;
}

int Parser::term() {
  Deeper deeper(*this);
  if (failed()) return 0;
  if (accept(Tok::kPlus)) return term();
  if (accept(Tok::kMinus)) {
    const int operand = term();
    return failed() ? 0 : arena_.unary(Op::kNeg, operand);
  }
  if (next_is(Tok::kPlusMinus) || next_is(Tok::kMinusPlus)) {
    const Op op = next_is(Tok::kPlusMinus) ? Op::kPlusMinus : Op::kMinusPlus;
    advance();
    const int zero = arena_.number(0);
    const int operand = term();
    return failed() ? 0 : arena_.binary(op, zero, operand);
  }
  return product();
}

bool Parser::starts_factor() const {
  switch (peek().kind) {
    case Tok::kNumber:
    case Tok::kLetter:
    case Tok::kWord:
    case Tok::kConstant:
    case Tok::kFunction:
    case Tok::kName:
    case Tok::kFrac:
    case Tok::kSqrt:
    case Tok::kBinom:
    case Tok::kSum:
    case Tok::kProd:
    case Tok::kOverline:
    case Tok::kOpen:
    case Tok::kBegin:
    case Tok::kLeftBar:
    case Tok::kEllipsis:
    case Tok::kDigits:
      return true;
    case Tok::kBar:
      return open_bars_ == 0;
    default:
      return false;
  }
}

// \text{m}, \text{s}^2, \frac{\text{m}}{\text{s}}: words where a factor may stand.
bool Parser::is_unit(int index, int depth) const {
  const Node& node = arena_[index];
  constexpr int kDeepestUnit = 4;
  if (depth > kDeepestUnit) return false;
  if (node.op == Op::kPow) return is_unit(node.a, depth + 1);
  if (node.op == Op::kDiv || node.op == Op::kMul)
    return is_unit(node.a, depth + 1) && is_unit(node.b, depth + 1);
  return node.op == Op::kText && !says_more(arena_.name(node));
}

int Parser::multiply(int left, int right, bool cross) {
  if (is_unit(right) && !is_unit(left)) return left;
  const Node &x = arena_[left], &y = arena_[right];
  const bool vectors = (x.flags & kVector) && (y.flags & kVector);
  return arena_.binary(cross && vectors ? Op::kCross : Op::kMul, left, right);
}

// "2\frac{1}{3}", "6 1/4": a whole number and a proper fraction stand for their sum, with any other
// fraction for the product.
bool Parser::mixed_fraction(int left, int* value) {
  const Node whole = arena_[left];
  const bool bare = whole.op == Op::kNumber && whole.flags & kSmallInt &&
                    !(whole.flags & kDecimal) && position_ > 0 &&
                    tokens_[position_ - 1].kind == Tok::kNumber;
  if (!bare) return false;
  int made = -1;
  if (next_is(Tok::kFrac)) {
    made = fraction();
  } else if (next_is(Tok::kNumber) && next_is(Tok::kSlash, 1) && next_is(Tok::kNumber, 2)) {
    const int numerator = number();
    advance();
    const int denominator = number();
    if (!failed()) made = arena_.binary(Op::kDiv, numerator, denominator);
  }
  if (failed() || made < 0) return false;
  const int fraction_node = made;
  const bool of_whole = next_is(Tok::kPercent) || next_is(Tok::kDegree);  // 33\frac13\%
  if (!of_whole) made = postfix(made);
  if (failed()) return false;
  int64_t numerator = 0, denominator = 0;
  const bool proper = made == fraction_node && arena_[made].op == Op::kDiv &&
                      arena_.is_integer(arena_[made].a, &numerator) &&
                      arena_.is_integer(arena_[made].b, &denominator) && numerator > 0 &&
                      numerator < denominator;
  *value = proper ? arena_.binary(Op::kAdd, left, made) : multiply(left, made, false);
  if (of_whole) *value = postfix(*value);
  return true;
}

// Only words up to the end of this member of the list.
bool Parser::only_words_follow() const {
  constexpr int kLongestUnit = 24;
  for (int ahead = 0; ahead < kLongestUnit; ++ahead) {
    switch (peek(ahead).kind) {
      case Tok::kWord:
      case Tok::kText:
      case Tok::kLetter:
      case Tok::kSlash:
      case Tok::kDot:
      case Tok::kDegree:
        break;
      case Tok::kCaret:  // cm^2
        if (peek(++ahead).kind != Tok::kNumber) return false;
        break;
      case Tok::kEnd_of_input:
      case Tok::kComma:
      case Tok::kConnective:
      case Tok::kClose:
      case Tok::kRow:
      case Tok::kApprox:
      case Tok::kRelation:
        return true;
      default:
        return false;
    }
  }
  return false;
}

// A unit behind a value says what is counted, not how much: it is dropped.
bool Parser::skip_unit(int left) {
  static constexpr std::array<std::string_view, 26> kShortUnits = {
      "cm", "mm", "km", "kg",  "mg",  "ml",  "mL",  "ft",  "yd", "mi", "lb", "oz", "hr",
      "in", "cc", "sq", "mph", "min", "sec", "deg", "rad", "am", "pm", "Hz", "cu", "pt"};
  if (arena_[left].op == Op::kText) return false;
  if (next_is(Tok::kWord)) {
    const std::string& name = peek().text;
    const bool unit = name.size() > 2 ||
                      std::find(kShortUnits.begin(), kShortUnits.end(), name) != kShortUnits.end();
    if (!unit || says_more(name) || !peek().space || !only_words_follow()) return false;
    while (next_is(Tok::kWord) || next_is(Tok::kText) || next_is(Tok::kLetter) ||
           next_is(Tok::kSlash) || next_is(Tok::kDot)) {
      advance();
      if (accept(Tok::kCaret)) advance();
    }
    return true;
  }
  if (!next_is(Tok::kText) || says_more(peek().text)) return false;
  advance();
  if (next_is(Tok::kCaret)) {
    advance();
    argument();
  }
  if (next_is(Tok::kSlash) && next_is(Tok::kText, 1)) advance();
  return true;
}

int Parser::product() {
  int left = factor();
  while (!failed()) {
    if (arena_.full()) return fail("too many terms");
    if (skip_unit(left)) continue;
    if (next_is(Tok::kTimes) || next_is(Tok::kCross)) {
      const bool cross = next_is(Tok::kCross);
      advance();
      const int right = next_is(Tok::kMinus) ? term() : factor();
      if (!failed()) left = multiply(left, right, cross);
    } else if (accept(Tok::kSlash)) {
      const int right = next_is(Tok::kMinus) ? term() : factor();
      const bool unit = !failed() && is_unit(right) && !is_unit(left);  // 60 / \text{min}
      if (!failed() && !unit) left = arena_.binary(Op::kDiv, left, right);
    } else if (next_is(Tok::kMod) || (next_opens('(') && next_is(Tok::kMod, 1))) {
      const bool bracket = next_opens('(');
      if (bracket) advance();
      const bool congruent = bracket || peek().text == "pmod";
      advance();
      const int right = factor();
      if (bracket && !failed() && !accept(Tok::kClose)) fail("a bracket is not closed");
      if (failed()) return 0;
      left = arena_.binary(Op::kMod, left, right);
      if (congruent) arena_.at(left).flags |= kCongruent;
    } else if (starts_factor()) {
      int mixed = -1;
      if (mixed_fraction(left, &mixed)) {
        left = mixed;
        continue;
      }
      if (failed()) return 0;
      if (next_is(Tok::kNumber) && tokens_[position_ - 1].kind == Tok::kNumber) {
        return fail("two numbers side by side");
      }
      const int right = factor();
      if (!failed()) left = multiply(left, right, false);
    } else {
      return left;
    }
  }
  return 0;
}

int Parser::factor() {
  const int base = atom();
  return failed() ? 0 : postfix(base);
}

// The "th" of 5^{\text{th}}.
bool Parser::skip_ordinal() {
  const int braced = next_opens('{') ? 1 : 0;
  const Token& word = peek(braced);
  const bool ordinal =
      (word.kind == Tok::kText || word.kind == Tok::kWord) &&
      (word.text == "st" || word.text == "nd" || word.text == "rd" || word.text == "th") &&
      (braced == 0 || next_closes('}', 2));
  for (int i = 0; ordinal && i < 1 + 2 * braced; ++i) advance();
  return ordinal;
}

int Parser::power(int base) {
  if (accept(Tok::kDegree)) return arena_.unary(Op::kDegree, base);
  if (next_opens('{') && next_is(Tok::kDegree, 1) && next_closes('{', 2))
    return fail("unclosed degree");
  if (next_opens('{') && next_is(Tok::kDegree, 1) && next_closes('}', 2)) {
    advance(), advance(), advance();
    return arena_.unary(Op::kDegree, base);
  }
  if (accept(Tok::kPrime) || skip_ordinal()) return base;
  int exponent;
  if (next_is(Tok::kMinus) || next_is(Tok::kPlus)) {
    const bool minus = next_is(Tok::kMinus);
    advance();
    exponent = argument();
    if (!failed() && minus) exponent = arena_.unary(Op::kNeg, exponent);
  } else {
    exponent = argument();
  }
  if (!failed() && accept(Tok::kCaret)) {
    Deeper deeper(*this);
    exponent = power(exponent);
  }
  return failed() ? 0 : arena_.binary(Op::kPow, base, exponent);
}

// Digits and letters of a base above ten, which only stand before their base.
bool Parser::is_digits(int index) const {
  return arena_[index].op == Op::kText && position_ > 0 &&
         tokens_[position_ - 1].kind == Tok::kDigits;
}

// n!! = n (n - 2) (n - 4) ..: worked out for small numbers, else a function that is not known.
int Parser::double_factorial(int base) {
  constexpr int64_t kMax = 300;
  int64_t n = 0;
  if (!arena_.is_integer(base, &n) || n < 0 || n > kMax)
    return arena_.with_kids(Op::kApply, {base}, arena_.intern("!!"));
  mpz_class product;
  mpz_2fac_ui(product.get_mpz_t(), static_cast<unsigned long>(n));
  return arena_.number(mpq_class(product), 0);
}

int Parser::postfix(int base) {
  while (!failed()) {
    if (accept(Tok::kCaret)) {
      base = power(base);
    } else if (next_is(Tok::kBang)) {
      advance();
      if (accept(Tok::kBang)) {
        base = double_factorial(base);
      } else {
        base = arena_.unary(Op::kFactorial, base);
      }
    } else if (accept(Tok::kPercent)) {
      base = arena_.unary(Op::kPercent, base);
    } else if (arena_[base].op == Op::kDegree && next_is(Tok::kLetter) &&
               (peek().text == "C" || peek().text == "F") && only_words_follow()) {
      advance();  // degrees Celsius
    } else if (accept(Tok::kDegree)) {
      base = arena_.unary(Op::kDegree, base);
    } else if (next_is(Tok::kUnder) && (arena_[base].op == Op::kNumber || is_digits(base))) {
      base = based_number(base);
    } else if (next_is(Tok::kUnder)) {
      return fail("a subscript where none can be");
    } else if (next_is(Tok::kPrime)) {
      advance();
    } else {
      return base;
    }
  }
  return 0;
}

Parsed parse(std::string_view text, bool comma_thousands, Arena& arena) {
  Parsed parsed;
  Lexed lexed = lex(text, comma_thousands);
  parsed.comma_ambiguous = lexed.comma_ambiguous;
  Parser parser(lexed.tokens, arena);
  parsed.root = parser.run();
  parsed.failure = parser.failure();
  if (parsed.root >= 0 || !turn_open_ends(lexed.tokens)) return parsed;
  Parser turned(std::move(lexed.tokens), arena);
  if (const int root = turned.run(); root >= 0) {
    parsed.root = root;
    parsed.failure.clear();
  }
  return parsed;
}

}  // namespace ponder::rewards::math
