#include <algorithm>
#include <cstdlib>

#include "rewards/math/parser_impl.h"

namespace ponder::rewards::math {
namespace {

constexpr size_t kMaxExponentDigits = 18;

bool all_digits(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

mpq_class decimal_value(const Token& token, int* decimals) {
  const size_t dot = token.text.find('.');
  if (dot == std::string::npos) return mpq_class(mpz_class(token.text, 10));
  const std::string fraction = token.text.substr(dot + 1);
  const std::string whole = token.text.substr(0, dot) + fraction;
  *decimals = static_cast<int>(fraction.size());
  mpz_class scale;
  mpz_ui_pow_ui(scale.get_mpz_t(), 10, fraction.size());
  mpq_class value(mpz_class(whole.empty() ? "0" : whole, 10), scale);
  if (!token.extra.empty()) {  // 0.1\overline{23} = 0.1 + 23 / (99 * 10)
    mpz_class nines;
    mpz_ui_pow_ui(nines.get_mpz_t(), 10, token.extra.size());
    mpq_class repeated(mpz_class(token.extra, 10), (nines - 1) * scale);
    repeated.canonicalize();
    value.canonicalize();
    value += repeated;
    *decimals = 0;
  }
  value.canonicalize();
  return value;
}

}  // namespace

int Parser::number() {
  const Token token = peek();
  if (token.kind != Tok::kNumber) return fail("a number is missing");
  advance();
  if (token.text.size() <= 18 && token.exponent.empty() && token.extra.empty() &&
      all_digits(token.text)) {
    return arena_.number(std::strtoll(token.text.c_str(), nullptr, 10));
  }
  int decimals = 0;
  mpq_class value = decimal_value(token, &decimals);
  if (token.exponent.empty()) return arena_.number(value, decimals);
  const int mantissa = arena_.number(value, decimals);
  if (token.exponent.size() > kMaxExponentDigits) return fail("an exponent beyond measure");
  const int ten = arena_.number(10);
  const int exponent = arena_.number(std::strtoll(token.exponent.c_str(), nullptr, 10));
  return arena_.binary(Op::kMul, mantissa, arena_.binary(Op::kPow, ten, exponent));
}

// What a script (_ or ^) says, as text.
std::string Parser::script() {
  const size_t start = position_;
  if (!next_opens('{')) {
    if (next_is(Tok::kEnd_of_input)) return "";
    advance();
    return surface(start, position_);
  }
  int depth = 0;
  do {
    if (next_opens('{')) ++depth;
    if (next_closes('}')) --depth;
    advance();
  } while (depth > 0 && !next_is(Tok::kEnd_of_input));
  return surface(start + 1, position_ - 1);
}

int Parser::letter() {
  const Token token = peek();
  advance();
  std::string name = token.text;
  const bool bound = std::find(bound_.begin(), bound_.end(), name) != bound_.end();
  const bool constant = !bound && !token.vector && !next_is(Tok::kUnder);
  if (constant && name == "e") return arena_.leaf(Op::kEuler);
  if (constant && name == "i") return arena_.leaf(Op::kImaginary);
  if (constant && name == "\\Gamma" && next_opens('(')) {
    const int operand = bracket();
    return failed() ? 0 : arena_.unary(Op::kGamma, operand);
  }
  if (accept(Tok::kUnder)) {
    Deeper deeper(*this);
    name += "_" + script();
  }
  while (accept(Tok::kPrime)) name += '\'';
  if (next_is(Tok::kCaret) && next_opens('{', 1) && next_is(Tok::kMinus, 2) &&
      next_is(Tok::kNumber, 3) && peek(3).text == "1" && next_closes('}', 4) &&
      next_opens('(', 5) && (name == "f" || name == "g" || name == "h"))
    return inverse_call(name);
  const bool choose = name == "C" && next_opens('(') && next_is(Tok::kNumber, 1) &&
                      next_is(Tok::kComma, 2) && next_is(Tok::kNumber, 3) && next_closes(')', 4);
  if (choose) return fold(Op::kBinomial);  // C(5, 2)
  const bool call =
      !name.empty() && (name[0] == 'f' || name[0] == 'g') && next_opens('(') && !peek().space;
  if (call) return apply(name);
  return arena_.named(Op::kSymbol, name, token.vector ? kVector : 0);
}

// f^{-1}(x): the name of another function, no power.
int Parser::inverse_call(const std::string& name) {
  constexpr int kScript = 5;  // ^ { - 1 }
  for (int i = 0; i < kScript; ++i) advance();
  return apply(name + "^-1");
}

// Letters in a row that are no name: their product; a script belongs to the last one.
int Parser::word() {
  const std::string letters = peek().text;
  if (letters.size() > 64) return fail("a word of " + std::to_string(letters.size()) + " letters");
  int left = -1;
  for (size_t i = 0; i + 1 < letters.size(); ++i) {
    const char c = letters[i];
    const int node = c == 'e'   ? arena_.leaf(Op::kEuler)
                     : c == 'i' ? arena_.leaf(Op::kImaginary)
                                : arena_.named(Op::kSymbol, letters.substr(i, 1), 0);
    left = left < 0 ? node : arena_.binary(Op::kMul, left, node);
  }
  tokens_[position_].kind = Tok::kLetter;
  tokens_[position_].text = letters.substr(letters.size() - 1);
  int last = letter();
  if (!failed()) last = postfix(last);
  return failed() ? 0 : arena_.binary(Op::kMul, left, last);
}

// One argument of a command: a group, or a single thing.
int Parser::argument() {
  Deeper deeper(*this);
  if (failed()) return 0;
  if (next_opens('{')) return bracket();
  switch (peek().kind) {
    case Tok::kNumber:
      return number();
    case Tok::kLetter:
    case Tok::kConstant:
    case Tok::kFrac:
    case Tok::kSqrt:
    case Tok::kFunction:
    case Tok::kBinom:
    case Tok::kWord:
    case Tok::kOpen:
    case Tok::kOverline:
    case Tok::kBar:
      return atom();
    default:
      return fail("an argument is missing");
  }
}

int Parser::fraction() {
  const bool binomial = next_is(Tok::kBinom);
  advance();
  const int top = argument();
  const int bottom = failed() ? 0 : argument();
  return failed() ? 0 : arena_.binary(binomial ? Op::kBinomial : Op::kDiv, top, bottom);
}

int Parser::root() {
  advance();
  int degree = -1;
  if (next_opens('[')) {
    advance();
    degree = sum();
    if (!next_closes(']')) return fail("the root's degree is not closed");
    advance();
  }
  const int radicand = argument();
  if (failed()) return 0;
  if (degree < 0) degree = arena_.number(2);
  return arena_.binary(Op::kRoot, radicand, degree);
}

int Parser::bracket() {
  Deeper deeper(*this);
  if (failed()) return 0;
  const char open = peek().ch;
  advance();
  const int bars_outside = std::exchange(open_bars_, 0);
  Joint joint = kPlain;
  std::vector<int> kids = elements(&joint);
  const bool builder = open == 'S' && kids.size() == 1 &&
                       (next_is(Tok::kMid) || next_is(Tok::kBar) || next_is(Tok::kColon));
  if (builder) {
    advance();
    kids = elements();
  }
  if (open == '{' && kids.size() == 1 && next_is(Tok::kOver)) {
    const Op op = peek().op == Op::kBinomial ? Op::kBinomial : Op::kDiv;
    advance();
    const int bottom = sum();
    if (!failed()) kids = {arena_.binary(op, kids[0], bottom)};
  }
  while (next_is(Tok::kDot) && next_is(Tok::kClose, 1)) advance();
  if (failed() || !next_is(Tok::kClose)) return fail("a bracket is not closed");
  const char close = peek().ch;
  advance();
  open_bars_ = bars_outside;
  const auto pairs = [&](char left, char right) { return open == left && close == right; };
  if (pairs('S', 'S')) {
    if (builder && kids.size() == 1) return kids[0];
    return kids.empty() ? arena_.leaf(Op::kEmptySet) : arena_.with_kids(Op::kSet, kids);
  }
  if (kids.empty()) return fail("an empty bracket");
  if (pairs('f', 'f') || pairs('c', 'c')) {
    return kids.size() == 1 ? arena_.unary(open == 'f' ? Op::kFloor : Op::kCeil, kids[0])
                            : fail("a rounding of several values");
  }
  if (pairs('{', '}')) return kids.size() == 1 ? kids[0] : arena_.with_kids(Op::kList, kids, joint);
  const bool round = open == '(' || open == '[' || open == 'A';
  const bool closes = close == ')' || close == ']' || close == 'A';
  if (!round || !closes) return fail("brackets that do not match");
  if (kids.size() == 1)
    return pairs('(', ')') || pairs('[', ']') ? kids[0] : fail("brackets that do not match");
  const int made = arena_.with_kids(Op::kTuple, kids);
  arena_.at(made).open = open == 'A' ? '(' : open;
  arena_.at(made).close = close == 'A' ? ')' : close;
  return made;
}

int Parser::bars(Tok close) {
  Deeper deeper(*this);
  if (failed()) return 0;
  advance();
  if (close == Tok::kBar) ++open_bars_;
  const int bars_before = open_bars_;
  const int inside = sum();
  open_bars_ = bars_before;
  if (failed() || !next_is(close)) return fail("a bar is not closed");
  advance();
  if (close == Tok::kBar) --open_bars_;
  if (arena_[inside].op == Op::kMatrix) return determinant(inside);
  return arena_.unary(Op::kAbs, inside);
}

int Parser::apply(std::string_view name) {
  if (!next_opens('(') && !next_opens('{')) return fail("a function without arguments");
  Deeper deeper(*this);
  const char close = next_opens('(') ? ')' : '}';
  advance();
  const std::vector<int> kids = elements();
  if (failed() || !next_closes(close)) return fail("a bracket is not closed");
  advance();
  const int64_t interned = arena_.intern(name);
  return arena_.with_kids(Op::kApply, kids, interned);
}

std::string Parser::surface(size_t from, size_t to) const {
  std::string text;
  for (size_t i = from; i < to && i < tokens_.size(); ++i) {
    const Token& token = tokens_[i];
    if (!token.text.empty()) {
      text += token.text + token.extra;
    } else if (token.ch != 0) {
      text += token.ch;
    } else {
      static constexpr std::string_view kMarks = "+-*/^,=<>!%'|&:_.";
      static constexpr Tok kKinds[] = {
          Tok::kPlus,     Tok::kMinus,    Tok::kTimes,    Tok::kSlash, Tok::kCaret,   Tok::kComma,
          Tok::kRelation, Tok::kRelation, Tok::kRelation, Tok::kBang,  Tok::kPercent, Tok::kPrime,
          Tok::kBar,      Tok::kAmp,      Tok::kColon,    Tok::kUnder, Tok::kDot};
      const auto found = std::find(std::begin(kKinds), std::end(kKinds), token.kind);
      if (found != std::end(kKinds)) {
        text += kMarks[static_cast<size_t>(found - kKinds)];
      } else {
        text += "#" + std::to_string(static_cast<int>(token.kind)) + "." +
                std::to_string(static_cast<int>(token.op));
      }
      if (token.kind == Tok::kRelation) text += std::to_string(static_cast<int>(token.rel));
    }
  }
  return text;
}

// An integral, a limit: it and the rest of this member of the list, kept as text.
int Parser::opaque(size_t start) {
  int depth = 0;
  while (!next_is(Tok::kEnd_of_input)) {
    if (next_is(Tok::kOpen)) ++depth;
    if (next_is(Tok::kClose) && --depth < 0) break;
    const bool separates = next_is(Tok::kComma) || next_is(Tok::kConnective) ||
                           next_is(Tok::kRelation) || next_is(Tok::kRow);
    if (depth == 0 && separates) break;
    advance();
  }
  return arena_.named(Op::kOpaque, surface(start, position_), 0);
}

int Parser::named_operator() {
  const size_t start = position_;
  const std::string name = peek().text;
  advance();
  if (name == "det" && (next_opens('(') || next_is(Tok::kBegin))) {
    const int inside = atom();
    if (failed()) return 0;
    return arena_[inside].op == Op::kMatrix ? determinant(inside) : arena_.unary(Op::kAbs, inside);
  }
  if (name.starts_with("\\") || name == "int" || name == "lim" || name == "iint" || name == "oint")
    return opaque(start);
  if (next_opens('(')) return apply(name);
  return opaque(start);
}

int Parser::atom() {
  Deeper deeper(*this);
  if (failed()) return 0;
  switch (peek().kind) {
    case Tok::kNumber:
      return number();
    case Tok::kLetter:
      return letter();
    case Tok::kWord:
      return word();
    case Tok::kText: {
      const std::string text = peek().text;
      advance();
      return arena_.named(Op::kText, text, 0);
    }
    case Tok::kConstant: {
      const Token token = peek();
      advance();
      if (token.op != Op::kNamedSet) return arena_.leaf(token.op);
      return arena_.named(Op::kNamedSet, token.text, 0);
    }
    case Tok::kFunction:
      return function();
    case Tok::kName:
      return named_operator();
    case Tok::kFrac:
    case Tok::kBinom:
      return fraction();
    case Tok::kSqrt:
      return root();
    case Tok::kOverline: {
      advance();
      const int inside = argument();
      if (failed()) return 0;
      const uint16_t flags = arena_[inside].flags;
      const bool conjugate = (flags & kHasImaginary) && !(flags & (kHasSymbol | kHasContainer));
      return conjugate ? arena_.unary(Op::kConjugate, inside) : inside;
    }
    case Tok::kUnder:
    case Tok::kCaret:
      return selection();
    case Tok::kDigits: {
      const std::string digits = peek().text;
      advance();
      return arena_.named(Op::kText, digits, 0);
    }
    case Tok::kSum:
    case Tok::kProd:
      return big_operator();
    case Tok::kOpen:
      return bracket();
    case Tok::kBar:
      return bars(Tok::kBar);
    case Tok::kLeftBar:
      return bars(Tok::kRightBar);
    case Tok::kBegin:
      return environment();
    case Tok::kEllipsis:
      advance();
      return arena_.leaf(Op::kEllipsis);
    default:
      return fail("something is missing at \"" + surface(position_, position_ + 1) + "\"");
  }
}

}  // namespace ponder::rewards::math
