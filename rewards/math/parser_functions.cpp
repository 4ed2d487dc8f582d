#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <utility>

#include "rewards/math/parser_impl.h"

namespace ponder::rewards::math {
namespace {

constexpr int64_t kMaxTerms = 500;  // of a sum or product that is written out
constexpr int kMaxDeterminant = 6;  // about 2,000 nodes

Op inverse_of(Op op) {
  switch (op) {
    case Op::kSin:
      return Op::kAsin;
    case Op::kCos:
      return Op::kAcos;
    case Op::kTan:
      return Op::kAtan;
    case Op::kCot:
      return Op::kAcot;
    case Op::kSec:
      return Op::kAsec;
    case Op::kCsc:
      return Op::kAcsc;
    case Op::kSinh:
      return Op::kAsinh;
    case Op::kCosh:
      return Op::kAcosh;
    case Op::kTanh:
      return Op::kAtanh;
    default:
      return op;
  }
}

}  // namespace

// "sin x", "sin 2x", "sin \frac{x}{2}", "sin(x)": factors side by side up to the next sign or
// function, or one bracket.
int Parser::function_argument() {
  Deeper deeper(*this);
  if (failed()) return 0;
  if (next_is(Tok::kMinus)) {
    advance();
    const int operand = function_argument();
    return failed() ? 0 : arena_.unary(Op::kNeg, operand);
  }
  if (next_is(Tok::kOpen)) return bracket();
  int left = factor();
  while (!failed() && starts_factor() && !next_is(Tok::kFunction) && !next_is(Tok::kOpen)) {
    if (next_is(Tok::kNumber)) break;
    const int right = factor();
    if (!failed()) left = arena_.binary(Op::kMul, left, right);
  }
  return left;
}

// gcd, max and the like over two or more arguments.
int Parser::fold(Op op) {
  if (!next_is(Tok::kOpen)) return fail("a function without arguments");
  Deeper deeper(*this);
  const char open = peek().ch;
  advance();
  const std::vector<int> kids = elements();
  const char close = open == '(' ? ')' : open == '[' ? ']' : open == '{' ? '}' : 'S';
  if (failed() || !next_closes(close)) return fail("a bracket is not closed");
  advance();
  if (kids.empty()) return fail("a function without arguments");
  if (op == Op::kBinomial && kids.size() != 2) return fail("a binomial of other than two numbers");
  int left = kids[0];
  for (size_t i = 1; i < kids.size(); ++i) left = arena_.binary(op, left, kids[i]);
  return left;
}

int Parser::function() {
  const Token token = peek();
  advance();
  Op op = token.op;
  int base = -1, exponent = -1;
  while (!failed() && (next_is(Tok::kUnder) || next_is(Tok::kCaret))) {
    const bool below = next_is(Tok::kUnder);
    advance();
    if (below) {
      base = argument();
    } else {
      exponent = next_is(Tok::kMinus) ? term() : argument();
    }
  }
  if (failed()) return 0;
  int64_t inverse = 0;
  if (exponent >= 0 && arena_.is_integer(exponent, &inverse) && inverse == -1 &&
      inverse_of(op) != op) {
    op = inverse_of(op);
    exponent = -1;
  }
  int made;
  switch (op) {
    case Op::kGcd:
    case Op::kLcm:
    case Op::kMax:
    case Op::kMin:
    case Op::kBinomial:
      made = fold(op);
      break;
    case Op::kLog: {
      if (base < 0) base = arena_.number(10);
      const int operand = function_argument();
      if (failed()) return 0;
      made = arena_.binary(Op::kLog, base, operand);
      break;
    }
    default: {
      const int operand = function_argument();
      if (failed()) return 0;
      made = arena_.unary(op, operand);
    }
  }
  if (failed()) return 0;
  return exponent >= 0 ? arena_.binary(Op::kPow, made, exponent) : made;
}

// \sum_{k=1}^{10} and \prod: written out when both ends are small numbers, else kept as text.
int Parser::big_operator() {
  const size_t start = position_;
  const bool product_sign = next_is(Tok::kProd);
  advance();
  std::string variable;
  int low = -1, high = -1;
  while (!failed() && (next_is(Tok::kUnder) || next_is(Tok::kCaret))) {
    const bool below = next_is(Tok::kUnder);
    advance();
    if (!below) {
      high = argument();
      continue;
    }
    const bool plain = next_opens('{') && next_is(Tok::kLetter, 1) && next_is(Tok::kRelation, 2) &&
                       peek(2).rel == Rel::kEq;
    if (!plain) return opaque(start);
    variable = peek(1).text;
    advance(), advance(), advance();
    low = sum();
    if (failed() || !next_closes('}')) return opaque(start);
    advance();
  }
  int64_t from = 0, to = 0;
  const bool finite = !failed() && low >= 0 && high >= 0 && arena_.is_integer(low, &from) &&
                      arena_.is_integer(high, &to) && to >= from && to - from < kMaxTerms;
  if (!finite) return failed() ? 0 : opaque(start);
  bound_.push_back(variable);
  const int body = term();
  bound_.pop_back();
  if (failed()) return 0;
  const int64_t size = body - arena_[body].begin + 2;
  if (size * (to - from + 1) > Arena::kMaxNodes - arena_.size()) return opaque(start);
  const int64_t name = arena_.intern(variable);
  int total = -1;
  for (int64_t value = from; value <= to; ++value) {
    const int one = arena_.substitute(body, name, value);
    total = total < 0 ? one : arena_.binary(product_sign ? Op::kMul : Op::kAdd, total, one);
  }
  return total;
}

// {}_5C_2, ^{5}P_2: how many selections (permutations) of so many out of so many.
int Parser::selection() {
  advance();
  const int total = argument();
  const bool permutations = peek().text == "P";
  const bool sign = next_is(Tok::kLetter) && (permutations || peek().text == "C");
  if (failed() || !sign) return fail("a script without a base");
  advance();
  if (!next_is(Tok::kUnder) && !next_is(Tok::kCaret)) return fail("a script is missing");
  advance();
  const int chosen = argument();
  if (failed()) return 0;
  const int ways = arena_.binary(Op::kBinomial, total, chosen);
  return permutations ? arena_.binary(Op::kMul, ways, arena_.unary(Op::kFactorial, chosen)) : ways;
}

// The base of 11_{\text{two}}, or -1.
int Parser::base_in_words() {
  static constexpr std::string_view kNames[] = {
      "two", "three",  "four",   "five",     "six",      "seven",   "eight",  "nine",
      "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"};
  const int braced = next_opens('{') ? 1 : 0;
  const Token& word = peek(braced);
  if ((word.kind != Tok::kText && word.kind != Tok::kWord) || (braced && !next_closes('}', 2)))
    return -1;
  const auto found = std::find(std::begin(kNames), std::end(kNames), word.text);
  if (found == std::end(kNames)) return -1;
  for (int i = 0; i < 1 + 2 * braced; ++i) advance();
  return arena_.number(static_cast<int64_t>(found - std::begin(kNames)) + 2);
}

int Parser::based_number(int digits) {
  advance();
  const Node whole = arena_[digits];
  int base = base_in_words();
  if (base < 0) base = argument();
  if (failed()) return 0;
  int64_t value = 0;
  const bool valid =
      arena_.is_integer(base, &value) && value >= 2 && value <= 64 && !(whole.flags & kDecimal);
  return valid ? arena_.with_kids(Op::kBaseN, {digits}, value)
               : fail("a subscript where none can be");
}

int Parser::environment() {
  Deeper deeper(*this);
  if (failed()) return 0;
  std::string name = peek().text;
  if (name.ends_with("*")) name.pop_back();
  if (name.find("matrix") != std::string::npos || name == "array") return matrix(name);
  advance();
  Joint joint = kPlain;
  const std::vector<int> kids = elements(&joint);
  while (next_is(Tok::kDot)) advance();
  if (failed() || !next_is(Tok::kEnd)) return fail("an environment is not closed");
  advance();
  if (kids.empty()) return fail("an empty environment");
  return kids.size() == 1 ? kids[0] : arena_.with_kids(Op::kList, kids, joint);
}

int Parser::matrix(std::string_view name) {
  advance();
  std::vector<int> cells;
  size_t columns = 0, in_row = 0;
  while (!failed() && !next_is(Tok::kEnd)) {
    cells.push_back(element());
    ++in_row;
    while (next_is(Tok::kDot) || next_is(Tok::kComma)) advance();
    if (accept(Tok::kAmp)) continue;
    if (!next_is(Tok::kRow) && !next_is(Tok::kEnd)) return fail("a matrix is not closed");
    while (accept(Tok::kRow)) {
    }
    if (columns != 0 && in_row != columns) return fail("rows of different lengths");
    columns = std::exchange(in_row, 0);
  }
  if (failed() || !next_is(Tok::kEnd)) return fail("a matrix is not closed");
  advance();
  if (cells.empty() || in_row != 0) return fail("an empty matrix");
  const int made = arena_.with_kids(Op::kMatrix, cells, static_cast<int64_t>(columns));
  return name.starts_with("v") || name.starts_with("V") ? determinant(made) : made;
}

// Laplace's expansion along the first row, written out; a larger one is compared by its entries.
int Parser::determinant(int matrix) {
  const Node node = arena_[matrix];
  const int size = static_cast<int>(node.value);
  if (size * size != node.count) return fail("the determinant of a matrix that is not square");
  if (size > kMaxDeterminant) {
    std::vector<int> entries;
    for (int i = 0; i < node.count; ++i) entries.push_back(arena_.kid(node, i));
    const int64_t name = arena_.intern("det" + std::to_string(size));
    return arena_.with_kids(Op::kApply, entries, name);
  }
  std::vector<int> columns(static_cast<size_t>(size));
  for (int i = 0; i < size; ++i) columns[static_cast<size_t>(i)] = i;
  auto expand = [&](auto&& self, int row, const std::vector<int>& left) -> int {
    if (left.size() == 1) return arena_.kid(node, row * size + left[0]);
    int total = -1;
    for (size_t i = 0; i < left.size(); ++i) {
      std::vector<int> rest = left;
      rest.erase(rest.begin() + static_cast<long>(i));
      const int minor = self(self, row + 1, rest);
      const int one = arena_.binary(Op::kMul, arena_.kid(node, row * size + left[i]), minor);
      total = total < 0 ? one : arena_.binary(i % 2 == 0 ? Op::kAdd : Op::kSub, total, one);
    }
    return total;
  };
  return expand(expand, 0, columns);
}

}  // namespace ponder::rewards::math
