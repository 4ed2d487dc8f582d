#include "rewards/math/scalar.h"

#include <algorithm>

namespace ponder::rewards::math {
namespace {

constexpr int64_t kQuickBits = 128;    // tells most different numbers apart
constexpr int64_t kCertainBits = 640;  // agreement to this many bits is taken for equality
constexpr int64_t kIdentityBits =
    384;  // the same for functions, which must agree at several points
constexpr int kModularTrials = 4;
constexpr int kPoints = 8;
constexpr int kPointOrder[] = {0, 4, 2, 5,
                               6, 1, 3, 7};  // negative points early: sqrt(x^2) is not x
constexpr int kPointsEnough = 3, kPointsTried = 4;

bool has_symbol(const Arena& arena, Item item) {
  return arena[item.node].flags & kHasSymbol;
}
bool has_imaginary(const Arena& arena, Item item) {
  return arena[item.node].flags & kHasImaginary;
}

Same same_modular(const Arena& arena, Item left, Item right, Budget& budget) {
  int agreed = 0;
  for (int trial = 0; trial < kModularTrials && agreed < 3; ++trial) {
    const auto x = modular_value(arena, left, trial, budget);
    if (!x) continue;
    const auto y = modular_value(arena, right, trial, budget);
    if (!y) continue;
    if (*x != *y) return Same::kNo;
    ++agreed;
  }
  return agreed >= 2 ? Same::kYes : Same::kUnknown;
}

// Compares at one point; `real_only`: a value that is not real says that the point lies outside the
// domain.
Same same_at(const Arena& arena, Item left, Item right, int trial, int64_t bits, bool real_only,
             Budget& budget) {
  Ball x, y;
  bool wide = false;
  if (!ball_value(arena, left, trial, bits, budget, x, &wide)) return Same::kUnknown;
  if (!ball_value(arena, right, trial, bits, budget, y, &wide)) return Same::kUnknown;
  const bool real =
      arb_contains_zero(acb_imagref(x.get())) && arb_contains_zero(acb_imagref(y.get()));
  if (!acb_overlaps(x.get(), y.get())) return real_only && !real ? Same::kUnknown : Same::kNo;
  return wide ? Same::kUnknown : Same::kYes;
}

Same same_constants(const Arena& arena, Item left, Item right, Budget& budget) {
  const Same quick = same_at(arena, left, right, 0, kQuickBits, false, budget);
  if (quick == Same::kNo) return quick;
  return same_at(arena, left, right, 0, kCertainBits, false, budget);
}

Same same_functions(const Arena& arena, Item left, Item right, Budget& budget) {
  const bool real_only = !has_imaginary(arena, left) && !has_imaginary(arena, right);
  int agreed = 0, tried = 0;
  for (int trial : kPointOrder) {
    if (agreed >= kPointsEnough && tried >= kPointsTried) break;
    ++tried;
    Same here = Same::kUnknown;
    if (trial == 0) here = same_at(arena, left, right, trial, kQuickBits, real_only, budget);
    if (here == Same::kNo) return here;
    here = same_at(arena, left, right, trial, kIdentityBits, real_only, budget);
    if (here == Same::kNo) return here;
    if (here == Same::kYes) ++agreed;
  }
  return agreed >= kPointsEnough ? Same::kYes : Same::kUnknown;
}

// A decimal literal with its sign: the value and how many decimals were written.
bool literal(const Arena& arena, int index, mpq_class& value, int* decimals) {
  const bool negative = arena[index].op == Op::kNeg;
  if (negative) index = arena[index].a;
  const Node& node = arena[index];
  if (node.op != Op::kNumber || !(node.flags & kDecimal)) return false;
  value = arena.rational(node);
  if (negative) value = -value;
  *decimals = node.digits;
  return true;
}

bool literal_says(const Arena& arena, Item written, Item meant, int decimals_min, Budget& budget) {
  mpq_class value;
  int decimals = 0;
  if (!literal(arena, written.node, value, &decimals) || decimals < decimals_min) return false;
  if (has_symbol(arena, meant)) return false;
  mpq_class other;
  int other_decimals = 0;
  if (literal(arena, meant.node, other, &other_decimals) && other_decimals <= decimals)
    return false;
  mpz_class scale, least;
  mpz_ui_pow_ui(scale.get_mpz_t(), 10, static_cast<unsigned long>(decimals));
  mpz_ui_pow_ui(least.get_mpz_t(), 10, static_cast<unsigned long>(decimals_min - 1));
  if (abs(value) * scale < least) return false;  // fewer significant digits than asked for
  // |meant| - |value| in units of the last decimal: within half of one if rounded, from 0 to 1 if
  // cut.
  const int direction = value < 0 ? -1 : 1;
  if (const auto exact = exact_value(arena, meant, budget)) {
    const mpq_class off = (*exact - value) * scale * direction;
    return off * 2 >= -1 && off < 1;
  }
  Ball off, shown;
  bool wide = false;
  const int64_t bits = std::min<int64_t>(kQuickBits + decimals * 4, kCertainBits);
  if (!ball_value(arena, meant, 0, bits, budget, off, &wide)) return false;
  if (!arb_contains_zero(acb_imagref(off.get()))) return false;
  fmpq_t fraction;
  fmpq_init(fraction);
  fmpq_set_mpq(fraction, mpq_class(value * scale).get_mpq_t());
  acb_set_fmpq(shown.get(), fraction, bits);
  fmpq_clear(fraction);
  fmpz_t units;
  fmpz_init(units);
  fmpz_set_mpz(units, scale.get_mpz_t());
  acb_mul_fmpz(off.get(), off.get(), units, bits);
  fmpz_clear(units);
  acb_sub(off.get(), off.get(), shown.get(), bits);
  if (direction < 0) acb_neg(off.get(), off.get());
  arb_mul_2exp_si(acb_realref(off.get()), acb_realref(off.get()),
                  1);  // so that both bounds are whole
  Ball low, high;
  arb_set_si(acb_realref(low.get()), -1);
  arb_set_si(acb_realref(high.get()), 2);
  return arb_gt(acb_realref(off.get()), acb_realref(low.get())) &&
         arb_lt(acb_realref(off.get()), acb_realref(high.get()));
}

}  // namespace

int infinity_sign(const Arena& arena, int node) {
  const Op op = arena[node].op;
  if (op == Op::kInfinity) return 1;
  if (op == Op::kNeg) return arena[arena[node].a].op == Op::kInfinity ? -1 : 0;
  return 0;
}

Same same_scalar(const Arena& arena, Item left, Item right, Budget& budget) {
  const Node &x = arena[left.node], &y = arena[right.node];
  int64_t a = 0, b = 0;
  if (arena.is_integer(left.node, &a) && arena.is_integer(right.node, &b))
    return a == b ? Same::kYes : Same::kNo;
  if (infinity_sign(arena, left.node) != 0 && infinity_sign(arena, right.node) != 0) {
    return infinity_sign(arena, left.node) == infinity_sign(arena, right.node) ? Same::kYes
                                                                               : Same::kNo;
  }
  if ((x.flags | y.flags) & (kHasInfinity | kHasContainer)) {
    return left.sign == right.sign && same_structure(arena, left.node, right.node) &&
                   !(x.flags & kHasInfinity)
               ? Same::kYes
               : Same::kNo;
  }
  const bool constants = !has_symbol(arena, left) && !has_symbol(arena, right);
  if (constants) {
    const auto exact_x = exact_value(arena, left, budget);
    const auto exact_y = exact_x ? exact_value(arena, right, budget) : std::nullopt;
    if (exact_x && exact_y) return *exact_x == *exact_y ? Same::kYes : Same::kNo;
  }
  const Same modular = same_modular(arena, left, right, budget);
  if (modular == Same::kNo) return modular;
  if (modular == Same::kYes) {
    // Agreement of two given numbers is no agreement at random points: the balls must not
    // contradict it.
    if (constants && same_at(arena, left, right, 0, kQuickBits, false, budget) == Same::kNo)
      return Same::kNo;
    return modular;
  }
  const Same numeric = constants ? same_constants(arena, left, right, budget)
                                 : same_functions(arena, left, right, budget);
  if (numeric != Same::kUnknown) return numeric;
  return left.sign == right.sign && same_structure(arena, left.node, right.node) ? Same::kYes
                                                                                 : Same::kUnknown;
}

bool rounds_to(const Arena& arena, Item left, Item right, int decimals, Budget& budget) {
  return literal_says(arena, left, right, decimals, budget) ||
         literal_says(arena, right, left, decimals, budget);
}

int order(const Arena& arena, Item left, Item right, Budget& budget) {
  const int x = infinity_sign(arena, left.node), y = infinity_sign(arena, right.node);
  if (x != 0 || y != 0) return x == y ? 0 : x < y ? -1 : 1;
  if (has_symbol(arena, left) || has_symbol(arena, right)) return 2;
  const auto exact_x = exact_value(arena, left, budget);
  const auto exact_y = exact_x ? exact_value(arena, right, budget) : std::nullopt;
  if (exact_x && exact_y) return cmp(*exact_x, *exact_y) < 0 ? -1 : *exact_x == *exact_y ? 0 : 1;
  Ball a, b;
  bool wide = false;
  if (!ball_value(arena, left, 0, kQuickBits, budget, a, &wide)) return 2;
  if (!ball_value(arena, right, 0, kQuickBits, budget, b, &wide)) return 2;
  if (!acb_is_real(a.get()) || !acb_is_real(b.get())) return 2;
  if (arb_lt(acb_realref(a.get()), acb_realref(b.get()))) return -1;
  if (arb_gt(acb_realref(a.get()), acb_realref(b.get()))) return 1;
  return same_scalar(arena, left, right, budget) == Same::kYes ? 0 : 2;
}

int constant_sign(const Arena& arena, Item expression, Budget& budget) {
  std::optional<uint64_t> first[2];
  int agreed = 0;
  for (int trial = 0; trial < kModularTrials + 2; ++trial) {
    const auto here = modular_value(arena, expression, trial, budget);
    if (!here) continue;
    if (*here == 0) return 0;
    auto& seen = first[trial % 2];
    if (seen && *seen != *here) return 0;
    if (seen) ++agreed;
    seen = here;
  }
  Ball start, value;
  bool wide = false;
  int points = 0;
  const int wanted = agreed >= 2 ? 1 : kPointsEnough;
  for (int trial = 0; trial < kPoints && points < wanted; ++trial) {
    Ball& out = points == 0 ? start : value;
    if (!ball_value(arena, expression, trial, kIdentityBits, budget, out, &wide)) continue;
    if (!arb_contains_zero(acb_imagref(out.get()))) continue;
    if (acb_contains_zero(out.get())) return 0;
    if (points > 0 && !acb_overlaps(start.get(), value.get())) return 0;
    ++points;
  }
  if (points < wanted || (wide && agreed < 2)) return agreed >= 2 ? 2 : 0;
  return arb_is_positive(acb_realref(start.get())) ? 1 : -1;
}

}  // namespace ponder::rewards::math
