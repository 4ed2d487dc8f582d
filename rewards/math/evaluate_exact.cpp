#include <algorithm>
#include <vector>

#include "rewards/math/evaluate.h"

namespace ponder::rewards::math {
namespace {

constexpr int64_t kMaxBits = 1 << 15;
constexpr long kMaxFactorial = 3000;  // 3000! has 9,131 digits

int64_t bits_of(const mpz_class& value) {
  return static_cast<int64_t>(mpz_sizeinbase(value.get_mpz_t(), 2));
}
int64_t bits_of(const mpq_class& value) {
  return bits_of(value.get_num()) + bits_of(value.get_den());
}

// value^exponent for a whole exponent.
bool power(const mpq_class& base, const mpz_class& exponent, mpq_class& out) {
  if (exponent == 0) {
    out = 1;
    return base != 0;
  }
  if (base == 0) {
    out = 0;
    return exponent > 0;
  }
  if (base == 1 || base == -1) {
    out = base == 1 || mpz_even_p(exponent.get_mpz_t()) ? 1 : -1;
    return true;
  }
  if (!exponent.fits_slong_p()) return false;
  const long count = std::labs(exponent.get_si());
  if (count > kMaxBits || bits_of(base) * count > kMaxBits) return false;
  mpz_class top, bottom;
  mpz_pow_ui(top.get_mpz_t(), base.get_num_mpz_t(), static_cast<unsigned long>(count));
  mpz_pow_ui(bottom.get_mpz_t(), base.get_den_mpz_t(), static_cast<unsigned long>(count));
  out = exponent > 0 ? mpq_class(top, bottom) : mpq_class(bottom, top);
  out.canonicalize();
  return true;
}

// The real root if it is rational.
bool exact_root(const mpq_class& value, const mpz_class& degree, mpq_class& out) {
  if (degree < 1 || !degree.fits_slong_p() || degree > kMaxBits) return false;
  const auto n = degree.get_ui();
  if (value < 0 && n % 2 == 0) return false;
  mpz_class top, bottom;
  if (!mpz_root(top.get_mpz_t(), value.get_num_mpz_t(), n)) return false;
  if (!mpz_root(bottom.get_mpz_t(), value.get_den_mpz_t(), n)) return false;
  out = mpq_class(top, bottom);
  return true;
}

bool raise(const mpq_class& base, const mpq_class& exponent, mpq_class& out) {
  if (exponent.get_den() == 1) return power(base, exponent.get_num(), out);
  mpq_class root;
  return exact_root(base, exponent.get_den(), root) && power(root, exponent.get_num(), out);
}

mpz_class floor_of(const mpq_class& value) {
  mpz_class result;
  mpz_fdiv_q(result.get_mpz_t(), value.get_num_mpz_t(), value.get_den_mpz_t());
  return result;
}

bool binomial(const mpq_class& n, const mpq_class& k, mpq_class& out) {
  if (n.get_den() != 1 || k.get_den() != 1 || n < 0 || k < 0) return false;
  if (k > n) {
    out = 0;
    return true;
  }
  const mpq_class smaller = std::min(k, mpq_class(n - k));
  if (!smaller.get_num().fits_slong_p() ||
      bits_of(n.get_num()) * smaller.get_num().get_si() > kMaxBits)
    return false;
  mpz_class result;
  mpz_bin_ui(result.get_mpz_t(), n.get_num_mpz_t(), smaller.get_num().get_ui());
  out = result;
  return true;
}

bool unary(const Node& node, const mpq_class& a, mpq_class& out) {
  switch (node.op) {
    case Op::kNeg:
      out = -a;
      return true;
    case Op::kPercent:
      out = a / 100;
      return true;
    case Op::kDegree:
    case Op::kConjugate:
    case Op::kRe:
      out = a;
      return true;
    case Op::kIm:
      out = 0;
      return true;
    case Op::kAbs:
      out = abs(a);
      return true;
    case Op::kFloor:
      out = floor_of(a);
      return true;
    case Op::kCeil:
      out = -floor_of(-a);
      return true;
    case Op::kFactorial: {
      if (a.get_den() != 1 || a < 0 || a > kMaxFactorial) return false;
      mpz_class result;
      mpz_fac_ui(result.get_mpz_t(), a.get_num().get_ui());
      out = result;
      return true;
    }
    default:
      return false;
  }
}

bool integers(Op op, const mpq_class& a, const mpq_class& b, mpq_class& out) {
  if (a.get_den() != 1 || b.get_den() != 1) return false;
  mpz_class result;
  if (op == Op::kGcd) {
    mpz_gcd(result.get_mpz_t(), a.get_num_mpz_t(), b.get_num_mpz_t());
  } else {
    mpz_lcm(result.get_mpz_t(), a.get_num_mpz_t(), b.get_num_mpz_t());
  }
  out = result;
  return true;
}

bool binary(Op op, const mpq_class& a, const mpq_class& b, int sign, mpq_class& out) {
  switch (op) {
    case Op::kAdd:
      out = a + b;
      return true;
    case Op::kSub:
      out = a - b;
      return true;
    case Op::kPlusMinus:
      out = sign >= 0 ? mpq_class(a + b) : mpq_class(a - b);
      return true;
    case Op::kMinusPlus:
      out = sign < 0 ? mpq_class(a + b) : mpq_class(a - b);
      return true;
    case Op::kMul:
      out = a * b;
      return true;
    case Op::kDiv:
      if (b == 0) return false;
      out = a / b;
      return true;
    case Op::kPow:
      return raise(a, b, out);
    case Op::kRoot:
      return b.get_den() == 1 && exact_root(a, b.get_num(), out);
    case Op::kBinomial:
      return binomial(a, b, out);
    case Op::kMod:
      if (b == 0) return false;
      out = a - b * floor_of(a / b);
      return true;
    case Op::kGcd:
    case Op::kLcm:
      return integers(op, a, b, out);
    case Op::kMax:
      out = std::max(a, b);
      return true;
    case Op::kMin:
      out = std::min(a, b);
      return true;
    default:
      return false;
  }
}

}  // namespace

std::optional<mpq_class> exact_value(const Arena& arena, Item item, Budget& budget) {
  const Node& top = arena[item.node];
  if (top.flags & (kHasSymbol | kHasContainer | kHasImaginary | kHasInfinity)) return std::nullopt;
  if (top.op == Op::kNumber) return arena.rational(top);
  const int begin = top.begin, count = item.node - begin + 1;
  std::vector<mpq_class> values(static_cast<size_t>(count));
  std::vector<char> known(static_cast<size_t>(count), 0);
  for (int i = begin; i <= item.node; ++i) {
    const Node& node = arena[i];
    const size_t here = static_cast<size_t>(i - begin);
    mpq_class& out = values[here];
    if (node.op == Op::kNumber) {
      out = arena.rational(node);
      known[here] = bits_of(out) <= kMaxBits * 2;
      continue;
    }
    if (node.a < begin || !known[static_cast<size_t>(node.a - begin)]) continue;
    const mpq_class& a = values[static_cast<size_t>(node.a - begin)];
    bool ok;
    if (node.b >= 0) {
      if (node.b < begin || !known[static_cast<size_t>(node.b - begin)]) continue;
      const mpq_class& b = values[static_cast<size_t>(node.b - begin)];
      const int64_t limbs = (bits_of(a) + bits_of(b)) / 64 + 1;
      if (!budget.spend(1 + limbs * limbs / 1000)) return std::nullopt;
      ok = binary(node.op, a, b, item.sign, out);
    } else {
      constexpr int64_t kFactorialCost = 100;
      if (!budget.spend(node.op == Op::kFactorial ? kFactorialCost : 1 + bits_of(a) / 4096)) {
        return std::nullopt;
      }
      ok = unary(node, a, out);
    }
    known[here] = ok && bits_of(out) <= kMaxBits * 2 && budget.spend(bits_of(out) / 512);
  }
  if (!known.back()) return std::nullopt;
  return std::move(values.back());
}

}  // namespace ponder::rewards::math
