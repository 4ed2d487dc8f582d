#include <string_view>
#include <vector>

#include "rewards/math/evaluate.h"

namespace ponder::rewards::math {
namespace {

constexpr long kMaxFactorial = 3000;

// The two largest primes below 2^61 that leave 1 modulo 4, and a square root of -1 in each.
struct Field {
  uint64_t prime, imaginary;
};
constexpr Field kFields[] = {{2305843009213693921, 583529827753931384},
                             {2305843009213693693, 966685122347009555}};

class Modular {
 public:
  Modular(const Arena& arena, Item item, int trial, Budget& budget)
      : arena_(arena), item_(item), trial_(trial), field_(kFields[trial % 2]), budget_(budget) {}

  std::optional<uint64_t> run() {
    const int begin = arena_[item_.node].begin;
    begin_ = begin;
    values_.resize(static_cast<size_t>(item_.node - begin + 1));
    known_.resize(values_.size(), 0);
    for (int i = begin; i <= item_.node; ++i) {
      uint64_t out = 0;
      known_[static_cast<size_t>(i - begin)] = node(arena_[i], out);
      values_[static_cast<size_t>(i - begin)] = out;
    }
    if (!known_.back()) return std::nullopt;
    return values_.back();
  }

 private:
  uint64_t add(uint64_t a, uint64_t b) const {
    const uint64_t sum = a + b;
    return sum >= field_.prime ? sum - field_.prime : sum;
  }
  uint64_t negate(uint64_t a) const { return a == 0 ? 0 : field_.prime - a; }
  uint64_t multiply(uint64_t a, uint64_t b) const {
    return static_cast<uint64_t>(static_cast<unsigned __int128>(a) * b % field_.prime);
  }
  uint64_t power(uint64_t base, uint64_t exponent) const {
    uint64_t result = 1;
    for (; exponent != 0; exponent >>= 1) {
      if (exponent & 1) result = multiply(result, base);
      base = multiply(base, base);
    }
    return result;
  }
  uint64_t inverse(uint64_t a) const { return power(a, field_.prime - 2); }
  uint64_t reduce(const mpz_class& value) const {
    return mpz_fdiv_ui(value.get_mpz_t(), field_.prime);
  }

  // FNV-1a, then the finaliser of SplitMix64.
  uint64_t point(std::string_view name, uint64_t seed) const {
    uint64_t hash = 0xCBF29CE484222325 ^ seed;
    for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
    hash += 0x9E3779B97F4A7C15 * static_cast<uint64_t>(trial_ / 2 + 1);
    hash = (hash ^ hash >> 30) * 0xBF58476D1CE4E5B9;
    hash = (hash ^ hash >> 27) * 0x94D049BB133111EB;
    return (hash ^ hash >> 31) % field_.prime;
  }

  bool known(int index) const {
    return index >= begin_ && known_[static_cast<size_t>(index - begin_)];
  }
  uint64_t value(int index) const { return values_[static_cast<size_t>(index - begin_)]; }

  bool node(const Node& node, uint64_t& out);
  bool leaf(const Node& node, uint64_t& out);
  bool unary(const Node& node, uint64_t& out);
  bool binary(const Node& node, uint64_t& out);
  bool number(const Node& node, uint64_t& out) const;
  bool raise(const Node& node, uint64_t& out);
  bool apply(const Node& node, uint64_t& out) const;

  const Arena& arena_;
  Item item_;
  int trial_;
  Field field_;
  Budget& budget_;
  int begin_ = 0;
  std::vector<uint64_t> values_;
  std::vector<char> known_;
};

bool Modular::number(const Node& node, uint64_t& out) const {
  if (node.flags & kSmallInt) {
    const int64_t small = node.value % static_cast<int64_t>(field_.prime);
    out = small < 0 ? static_cast<uint64_t>(small + static_cast<int64_t>(field_.prime))
                    : static_cast<uint64_t>(small);
    return true;
  }
  const mpq_class value = arena_.rational(node);
  const uint64_t bottom = reduce(value.get_den());
  out = multiply(reduce(value.get_num()), inverse(bottom));
  return bottom != 0;
}

// A whole exponent of any size counts modulo prime - 1 (Fermat).
bool Modular::raise(const Node& node, uint64_t& out) {
  if (!budget_.spend(1)) return false;
  const uint64_t base = value(node.a);
  int64_t small = 0;
  mpz_class exponent;
  if (arena_.is_integer(node.b, &small)) {
    exponent = static_cast<long>(small);
  } else {
    const auto exact = exact_value(arena_, {node.b, item_.sign}, budget_);
    if (!exact || exact->get_den() != 1) return false;
    exponent = exact->get_num();
  }
  if (base == 0) {
    out = 0;
    return exponent > 0;
  }
  out = power(base, mpz_fdiv_ui(exponent.get_mpz_t(), field_.prime - 1));
  return true;
}

bool Modular::apply(const Node& node, uint64_t& out) const {
  uint64_t seed = 17 + static_cast<uint64_t>(node.op);
  for (int i = 0; i < node.count; ++i) {
    const int kid = arena_.kid(node, i);
    if (!known(kid)) return false;
    seed = seed * 0x9E3779B97F4A7C15 + value(kid);
  }
  out = point(arena_.name(node), seed);
  return true;
}

// Numbers, names and constants; false for all else, and for a number without a value there.
bool Modular::leaf(const Node& node, uint64_t& out) {
  switch (node.op) {
    case Op::kNumber:
      return number(node, out);
    case Op::kSymbol:
      out = point(arena_.name(node), 1);
      return true;
    case Op::kOpaque:
      out = point(arena_.name(node), 2);
      return true;
    case Op::kImaginary:
      out = field_.imaginary;
      return true;
    // Transcendental numbers behave like symbols.
    case Op::kPi:
      out = point("pi", 3);
      return true;
    case Op::kEuler:
      out = point("e", 3);
      return true;
    case Op::kApply:
      return apply(node, out);
    default:
      return false;
  }
}

bool Modular::unary(const Node& node, uint64_t& out) {
  const uint64_t a = value(node.a);
  switch (node.op) {
    case Op::kNeg:
      out = negate(a);
      return true;
    case Op::kDegree:
      out = a;
      return true;
    case Op::kPercent:
      out = multiply(a, inverse(100));
      return true;
    case Op::kFactorial: {
      const Node& inside = arena_[node.a];
      if (inside.op != Op::kNumber || !(inside.flags & kSmallInt)) return false;
      if (inside.value < 0 || inside.value > kMaxFactorial ||
          !budget_.spend(inside.value / 100 + 1))
        return false;
      out = 1;
      for (int64_t i = 2; i <= inside.value; ++i) out = multiply(out, static_cast<uint64_t>(i));
      return true;
    }
    default:
      return false;
  }
}

bool Modular::binary(const Node& node, uint64_t& out) {
  const uint64_t a = value(node.a);
  const uint64_t b = value(node.b);
  switch (node.op) {
    case Op::kAdd:
      out = add(a, b);
      return true;
    case Op::kSub:
      out = add(a, negate(b));
      return true;
    case Op::kPlusMinus:
      out = add(a, item_.sign >= 0 ? b : negate(b));
      return true;
    case Op::kMinusPlus:
      out = add(a, item_.sign < 0 ? b : negate(b));
      return true;
    case Op::kMul:
      out = multiply(a, b);
      return true;
    case Op::kDiv:
      if (b == 0 || !budget_.spend(1)) return false;
      out = multiply(a, inverse(b));
      return true;
    case Op::kCross:
      out = point("cross", a * 3 + multiply(b, 5));
      return true;
    default:
      return false;
  }
}

bool Modular::node(const Node& node, uint64_t& out) {
  if (node.a < 0) return leaf(node, out);
  if (!known(node.a)) return false;
  if (node.op == Op::kPow) return raise(node, out);
  if (node.b < 0) return unary(node, out);
  return known(node.b) && binary(node, out);
}

}  // namespace

std::optional<uint64_t> modular_value(const Arena& arena, Item item, int trial, Budget& budget) {
  if (arena[item.node].flags & (kHasContainer | kHasInfinity)) return std::nullopt;
  if (!budget.spend((item.node - arena[item.node].begin) / 64 + 1)) return std::nullopt;
  return Modular(arena, item, trial, budget).run();
}

}  // namespace ponder::rewards::math
