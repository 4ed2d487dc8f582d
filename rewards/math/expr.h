// Parsed mathematics: an arena of nodes in which children come before their parents, so that every
// evaluation is one loop over a range and needs no stack. It knows what was written, not what it is
// equal to.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <gmpxx.h>

namespace ponder::rewards::math {

enum class Op : uint8_t {
  // leaves
  kNumber,
  kSymbol,
  kPi,
  kEuler,
  kImaginary,
  kInfinity,
  kEllipsis,
  kText,
  kEmptySet,
  kNamedSet,
  // arithmetic: a, b
  kAdd,
  kSub,
  kMul,
  kDiv,
  kPow,
  kNeg,
  kRoot,
  kPlusMinus,
  kMinusPlus,
  kCross,
  // postfix marks: a
  kPercent,
  kDegree,
  kFactorial,
  // functions of one argument: a
  kAbs,
  kFloor,
  kCeil,
  kLn,
  kExp,
  kSin,
  kCos,
  kTan,
  kCot,
  kSec,
  kCsc,
  kAsin,
  kAcos,
  kAtan,
  kAcot,
  kAsec,
  kAcsc,
  kSinh,
  kCosh,
  kTanh,
  kCoth,
  kAsinh,
  kAcosh,
  kAtanh,
  kGamma,
  kConjugate,
  kRe,
  kIm,
  // functions of two arguments: a, b (kLog: base a)
  kLog,
  kBinomial,
  kMod,
  kGcd,
  kLcm,
  kMax,
  kMin,
  kApply,   // a function that is not known: name in `value`, arguments in the kids; compared by
            // structure only
  kOpaque,  // integrals, limits, infinite sums: compared by text only
  // containers: kids
  kTuple,
  kSet,
  kList,  // value: how its members were joined (Joint)
  kMatrix,
  kUnion,
  kIntersection,
  kDifference,
  kRelation,
  kRatio,
  kBaseN,
  kUnit,
};

enum class Rel : uint8_t { kEq, kNe, kLt, kLe, kGt, kGe, kIn, kOther };

// How the members of a list were joined. Commas and mixtures are kPlain; \land and \lor also join
// statements that are no values.
enum Joint : int64_t { kPlain, kAnd, kOr, kLogicalAnd, kLogicalOr };

// What a subtree holds; a node's flags are the union of its children's and its own.
enum Flag : uint16_t {
  kHasSymbol = 1,
  kHasOpaque = 2,  // has no value as a number: only its name and arguments count
  kHasDegree = 4,
  kHasPlusMinus = 8,
  kHasImaginary = 16,
  kHasContainer = 32,
  kHasInfinity = 64,
  kSmallInt = 128,  // own: a kNumber whose value is in `value`
  kDecimal = 256,   // own: a kNumber written with a decimal point; `digits` counts its decimals
  kAngleInDegrees = 512,  // own: a trigonometric function whose argument holds degrees
  kVector = 1024,         // own: a bold or arrowed symbol
  kCongruent = 2048,      // own: a kMod that names the modulus of a congruence, 3 (mod 7)
  kOwnFlags = kSmallInt | kDecimal | kAngleInDegrees | kVector | kCongruent,
};

struct Node {
  Op op = Op::kNumber;
  char open = 0, close = 0;  // kTuple: its brackets
  uint16_t flags = 0;
  int32_t a = -1, b = -1;        // children
  int32_t first = 0, count = 0;  // kids: a range of Arena::kids; kMatrix: row-major
  int32_t begin = 0;             // the subtree is the range [begin, this node]
  int64_t value = 0;   // kNumber: the integer or the index of a rational; names: index; kMatrix:
                       // columns; kBaseN: base
  int32_t digits = 0;  // kNumber: decimals written
};

// Thrown by nobody: an arena that is full only says so, and the parser gives up.
class Arena {
 public:
  static constexpr int kMaxNodes = 40000;  // for a gold and an answer together

  int number(int64_t value);
  int number(const mpq_class& value, int decimals);
  int leaf(Op op, uint16_t flags = 0);
  int named(Op op, std::string_view name, uint16_t flags);
  int unary(Op op, int a, uint16_t own = 0);
  int binary(Op op, int a, int b);
  int with_kids(Op op, const std::vector<int>& kids, int64_t value = 0);
  // kRelation: kids are the sides, relations the signs between them.
  int relation(const std::vector<int>& sides, const std::vector<Rel>& signs);
  // A copy of a subtree in which the symbol `name` is the number `value`.
  int substitute(int root, int64_t name, int64_t value);
  // A copy of a subtree in which the names from[i] are called to[i].
  int rename(int root, const std::vector<int64_t>& from, const std::vector<int64_t>& to);
  int intern(std::string_view name);

  const Node& operator[](int index) const { return nodes_[index]; }
  Node& at(int index) { return nodes_[index]; }
  int size() const { return static_cast<int>(nodes_.size()); }
  bool full() const { return size() > kMaxNodes; }
  int kid(const Node& node, int index) const { return kids_[node.first + index]; }
  Rel rel(const Node& node, int index) const { return rels_[node.value + index]; }
  const std::string& name(const Node& node) const { return names_[node.value]; }
  mpq_class rational(const Node& node) const;
  bool is_integer(int index, int64_t* value) const;  // a plain integer that fits

 private:
  int add(Node node);
  int copy(int index, int offset);

  std::vector<Node> nodes_;
  std::vector<int> kids_;
  std::vector<Rel> rels_;
  std::vector<mpq_class> rationals_;
  std::vector<std::string> names_;
};

// Same operators, numbers and names in the same order.
bool same_structure(const Arena& arena, int a, int b);

}  // namespace ponder::rewards::math
