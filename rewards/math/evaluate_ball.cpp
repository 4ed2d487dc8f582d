#include <memory>
#include <string_view>
#include <vector>

#include <mag.h>

#if __has_include(<flint/arb.h>)  // a part of FLINT from version 3 on
#include <flint/arb.h>
#include <flint/arf.h>
#else
#include <arb.h>
#include <arf.h>
#endif

#include "rewards/math/evaluate.h"

namespace ponder::rewards::math {
namespace {

constexpr long kMaxArgumentBits =
    40;  // of what an exponential, a power's exponent or a gamma function is given

// FLINT keeps numbers and constants for reuse in each thread, and leaves them behind when the
// thread ends.
struct FlintCleanup {
  ~FlintCleanup() { flint_cleanup(); }
};

class Values {
 public:
  explicit Values(size_t count) : values_(count) {
    for (auto& value : values_) acb_init(&value);
  }
  ~Values() {
    for (auto& value : values_) acb_clear(&value);
  }
  Values(const Values&) = delete;
  Values& operator=(const Values&) = delete;
  acb_ptr operator[](int i) { return &values_[static_cast<size_t>(i)]; }

 private:
  std::vector<acb_struct> values_;
};

// log2 of the value's upper bound is at most `bits`.
bool at_most_bits(acb_srcptr value, long bits) {
  mag_t bound;
  mag_init(bound);
  acb_get_mag(bound, value);
  const bool small = mag_cmp_2exp_si(bound, bits) <= 0;
  mag_clear(bound);
  return small;
}

bool beyond(acb_srcptr value, long bits) {
  if (acb_is_zero(value)) return false;
  if (!at_most_bits(value, bits)) return true;
  mag_t bound;
  mag_init(bound);
  acb_get_mag_lower(bound, value);
  // A ball that holds zero is small by cancellation, not by scale: it is judged by what it came
  // from.
  const bool tiny = !mag_is_zero(bound) && mag_cmp_2exp_si(bound, -bits) < 0;
  mag_clear(bound);
  return tiny;
}

class Evaluation {
 public:
  Evaluation(const Arena& arena, Item item, int trial, int64_t precision, Budget& budget)
      : arena_(arena),
        item_(item),
        trial_(trial),
        precision_(precision),
        budget_(budget),
        begin_(arena[item.node].begin),
        values_(static_cast<size_t>(item.node - begin_ + 1)),
        known_(static_cast<size_t>(item.node - begin_ + 1), 0) {}

  bool run(Ball& out, bool* wide) {
    for (int i = begin_; i <= item_.node; ++i) {
      acb_ptr value = values_[i - begin_];
      const bool known = node(arena_[i], value) && acb_is_finite(value);
      known_[static_cast<size_t>(i - begin_)] = known;
      wide_ |= known && beyond(value, precision_ / 4);
    }
    if (!known_.back()) return false;
    acb_swap(out.get(), values_[item_.node - begin_]);
    *wide |= wide_;
    return true;
  }

 private:
  bool known(int index) const {
    return index >= begin_ && known_[static_cast<size_t>(index - begin_)];
  }
  acb_ptr value(int index) { return values_[index - begin_]; }

  bool node(const Node& node, acb_ptr out);
  bool leaf(const Node& node, acb_ptr out);
  bool unary(const Node& node, acb_ptr a, acb_ptr out);
  bool part_of(Op op, acb_ptr a, acb_ptr out);
  bool inverse_function(Op op, acb_ptr a, acb_ptr out);
  bool trigonometric(const Node& node, acb_ptr a, acb_ptr out);
  bool binary(const Node& node, acb_ptr a, acb_ptr b, acb_ptr out);
  bool raise(acb_ptr base, acb_ptr exponent, int exponent_node, acb_ptr out);
  bool root(acb_ptr radicand, const mpz_class& degree, acb_ptr out);
  bool round(acb_ptr a, bool up, acb_ptr out);
  bool gamma(acb_ptr a, acb_ptr out);
  void symbol(std::string_view name, acb_ptr out) const;

  const Arena& arena_;
  Item item_;
  int trial_;
  int64_t precision_;
  Budget& budget_;
  int begin_;
  Values values_;
  std::vector<char> known_;
  bool wide_ = false;
};

// A dyadic number of 62 bits in the trial's range; see ball_value().
void Evaluation::symbol(std::string_view name, acb_ptr out) const {
  uint64_t hash = 0xCBF29CE484222325;
  for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  hash += 0x9E3779B97F4A7C15 * static_cast<uint64_t>(trial_ + 1);
  hash = (hash ^ hash >> 30) * 0xBF58476D1CE4E5B9;
  hash = (hash ^ hash >> 27) * 0x94D049BB133111EB;
  hash ^= hash >> 31;
  const bool negative = trial_ == 4 || (trial_ > 4 && (hash & 1));
  fmpz_t mantissa;
  fmpz_init_set_ui(mantissa, hash >> 2);
  acb_zero(out);
  arb_set_fmpz(acb_realref(out), mantissa);
  fmpz_clear(mantissa);
  arb_mul_2exp_si(acb_realref(out), acb_realref(out), -62);
  if (trial_ >= 2) {
    arb_mul_ui(acb_realref(out), acb_realref(out), 3, 128);
    arb_add_ui(acb_realref(out), acb_realref(out), 1, 128);
  }
  if (negative) acb_neg(out, out);
}

bool Evaluation::leaf(const Node& node, acb_ptr out) {
  switch (node.op) {
    case Op::kNumber: {
      if (node.flags & kSmallInt) {
        acb_set_si(out, node.value);
        return true;
      }
      fmpq_t fraction;
      fmpq_init(fraction);
      fmpq_set_mpq(fraction, arena_.rational(node).get_mpq_t());
      acb_set_fmpq(out, fraction, precision_);
      fmpq_clear(fraction);
      return true;
    }
    case Op::kSymbol:
      symbol(arena_.name(node), out);
      return true;
    case Op::kPi:
      acb_const_pi(out, precision_);
      return true;
    case Op::kEuler:
      acb_zero(out);
      arb_const_e(acb_realref(out), precision_);
      return true;
    case Op::kImaginary:
      acb_onei(out);
      return true;
    default:
      return false;
  }
}

bool Evaluation::round(acb_ptr a, bool up, acb_ptr out) {
  if (!acb_is_real(a) || !at_most_bits(a, precision_ / 2)) return false;
  if (up) {
    arb_ceil(acb_realref(out), acb_realref(a), precision_);
  } else {
    arb_floor(acb_realref(out), acb_realref(a), precision_);
  }
  arb_zero(acb_imagref(out));
  return arb_is_int(acb_realref(out));
}

bool Evaluation::gamma(acb_ptr a, acb_ptr out) {
  if (!at_most_bits(a, kMaxArgumentBits) || !budget_.spend(precision_ * 2)) return false;
  acb_gamma(out, a, precision_);
  return true;
}

bool Evaluation::trigonometric(const Node& node, acb_ptr a, acb_ptr out) {
  if (!at_most_bits(a, precision_ / 2)) return false;
  Ball angle;
  acb_set(angle.get(), a);
  if (node.flags & kAngleInDegrees) {
    Ball pi;
    acb_const_pi(pi.get(), precision_);
    acb_mul(angle.get(), angle.get(), pi.get(), precision_);
    acb_div_ui(angle.get(), angle.get(), 180, precision_);
  }
  switch (node.op) {
    case Op::kSin:
      acb_sin(out, angle.get(), precision_);
      return true;
    case Op::kCos:
      acb_cos(out, angle.get(), precision_);
      return true;
    case Op::kTan:
      acb_tan(out, angle.get(), precision_);
      return true;
    case Op::kCot:
      acb_cot(out, angle.get(), precision_);
      return true;
    case Op::kSec:
      acb_sec(out, angle.get(), precision_);
      return true;
    default:
      acb_csc(out, angle.get(), precision_);
      return true;
  }
}

// Parts and roundings of a value, which cost next to nothing; false for other functions.
bool Evaluation::part_of(Op op, acb_ptr a, acb_ptr out) {
  switch (op) {
    case Op::kNeg:
      acb_neg(out, a);
      return true;
    case Op::kPercent:
      acb_div_ui(out, a, 100, precision_);
      return true;
    case Op::kDegree:
      acb_set(out, a);
      return true;
    case Op::kConjugate:
      acb_conj(out, a);
      return true;
    case Op::kRe:
      acb_zero(out);
      arb_set(acb_realref(out), acb_realref(a));
      return true;
    case Op::kIm:
      acb_zero(out);
      arb_set(acb_realref(out), acb_imagref(a));
      return true;
    case Op::kAbs:
      acb_zero(out);
      acb_abs(acb_realref(out), a, precision_);
      return true;
    default:
      return false;
  }
}

// The inverse trigonometric and hyperbolic functions; false for others.
bool Evaluation::inverse_function(Op op, acb_ptr a, acb_ptr out) {
  using Function = void (*)(acb_t, const acb_t, slong);
  Function function = nullptr;
  switch (op) {
    case Op::kAsin:
    case Op::kAcsc:
      function = acb_asin;
      break;
    case Op::kAcos:
    case Op::kAsec:
      function = acb_acos;
      break;
    case Op::kAtan:
    case Op::kAcot:
      function = acb_atan;
      break;
    case Op::kAsinh:
      function = acb_asinh;
      break;
    case Op::kAcosh:
      function = acb_acosh;
      break;
    case Op::kAtanh:
      function = acb_atanh;
      break;
    default:
      return false;
  }
  Ball argument;
  if (op == Op::kAcsc || op == Op::kAsec || op == Op::kAcot) {
    acb_inv(argument.get(), a, precision_);
  } else {
    acb_set(argument.get(), a);
  }
  function(out, argument.get(), precision_);
  return true;
}

bool Evaluation::unary(const Node& node, acb_ptr a, acb_ptr out) {
  if (part_of(node.op, a, out)) return true;
  if (node.op == Op::kFloor || node.op == Op::kCeil) return round(a, node.op == Op::kCeil, out);
  if (!budget_.spend(precision_ / 32)) return false;
  if (inverse_function(node.op, a, out)) return true;
  switch (node.op) {
    case Op::kFactorial: {
      Ball next;
      acb_add_ui(next.get(), a, 1, precision_);
      return gamma(next.get(), out);
    }
    case Op::kGamma:
      return gamma(a, out);
    case Op::kLn:
      acb_log(out, a, precision_);
      return !acb_contains_zero(a);
    case Op::kExp:
      if (!at_most_bits(a, kMaxArgumentBits)) return false;
      acb_exp(out, a, precision_);
      return true;
    case Op::kSinh:
    case Op::kCosh:
    case Op::kTanh:
    case Op::kCoth: {
      if (!at_most_bits(a, kMaxArgumentBits)) return false;
      const auto function = node.op == Op::kSinh   ? acb_sinh
                            : node.op == Op::kCosh ? acb_cosh
                            : node.op == Op::kTanh ? acb_tanh
                                                   : acb_coth;
      function(out, a, precision_);
      return true;
    }
    default:
      return node.op >= Op::kSin && node.op <= Op::kCsc && trigonometric(node, a, out);
  }
}

// Over the reals: an odd root of a negative number is the negative one.
bool Evaluation::root(acb_ptr radicand, const mpz_class& degree, acb_ptr out) {
  if (degree < 1 || degree > 1000 || !budget_.spend(precision_ / 64)) return false;
  const auto n = degree.get_ui();
  const bool negative = acb_is_real(radicand) && arb_is_negative(acb_realref(radicand));
  if (negative && n % 2 == 1) {
    acb_neg(out, radicand);
    acb_root_ui(out, out, n, precision_);
    acb_neg(out, out);
  } else if (n == 2) {
    acb_sqrt(out, radicand, precision_);
  } else {
    acb_root_ui(out, radicand, n, precision_);
  }
  return true;
}

bool Evaluation::raise(acb_ptr base, acb_ptr exponent, int exponent_node, acb_ptr out) {
  if (!at_most_bits(exponent, kMaxArgumentBits)) return false;
  const auto exact = exact_value(arena_, {exponent_node, item_.sign}, budget_);
  if (exact && exact->get_den() <= 1000) {
    const mpz_class& numerator = exact->get_num();
    if (!numerator.fits_slong_p() || !budget_.spend(precision_ / 64)) return false;
    if (acb_contains_zero(base) && (!acb_is_zero(base) || numerator <= 0)) return false;
    if (!root(base, exact->get_den(), out)) return false;
    acb_pow_si(out, out, numerator.get_si(), precision_);
    return true;
  }
  if (acb_contains_zero(base) || !budget_.spend(precision_ / 16)) return false;
  Ball argument;
  acb_log(argument.get(), base, precision_);
  acb_mul(argument.get(), argument.get(), exponent, precision_);
  if (!at_most_bits(argument.get(), kMaxArgumentBits)) return false;
  acb_exp(out, argument.get(), precision_);
  return true;
}

bool Evaluation::binary(const Node& node, acb_ptr a, acb_ptr b, acb_ptr out) {
  switch (node.op) {
    case Op::kAdd:
      acb_add(out, a, b, precision_);
      return true;
    case Op::kSub:
      acb_sub(out, a, b, precision_);
      return true;
    case Op::kPlusMinus:
    case Op::kMinusPlus:
      if ((item_.sign >= 0) == (node.op == Op::kPlusMinus)) {
        acb_add(out, a, b, precision_);
      } else {
        acb_sub(out, a, b, precision_);
      }
      return true;
    case Op::kMul:
      acb_mul(out, a, b, precision_);
      return true;
    case Op::kDiv:
      if (acb_contains_zero(b)) return false;
      acb_div(out, a, b, precision_);
      return true;
    case Op::kPow:
      return raise(a, b, node.b, out);
    case Op::kRoot: {
      const auto degree = exact_value(arena_, {node.b, item_.sign}, budget_);
      return degree && degree->get_den() == 1 && root(a, degree->get_num(), out);
    }
    case Op::kLog: {
      if (!budget_.spend(precision_ / 16) || acb_contains_zero(a) || acb_contains_zero(b))
        return false;
      Ball base;
      acb_log(base.get(), a, precision_);
      acb_log(out, b, precision_);
      acb_div(out, out, base.get(), precision_);
      return true;
    }
    case Op::kMax:
    case Op::kMin: {
      if (!acb_is_real(a) || !acb_is_real(b)) return false;
      acb_zero(out);
      (node.op == Op::kMax ? arb_max : arb_min)(acb_realref(out), acb_realref(a), acb_realref(b),
                                                precision_);
      return true;
    }
    case Op::kMod: {
      Ball quotient, whole;
      if (acb_contains_zero(b)) return false;
      acb_div(quotient.get(), a, b, precision_);
      if (!round(quotient.get(), false, whole.get())) return false;
      acb_mul(whole.get(), whole.get(), b, precision_);
      acb_sub(out, a, whole.get(), precision_);
      return true;
    }
    case Op::kBinomial: {  // n! / (k! (n - k)!)
      Ball n, k, rest;
      acb_add_ui(n.get(), a, 1, precision_);
      acb_add_ui(k.get(), b, 1, precision_);
      acb_sub(rest.get(), n.get(), b, precision_);
      if (!gamma(n.get(), out) || !gamma(k.get(), k.get()) || !gamma(rest.get(), rest.get()))
        return false;
      acb_mul(k.get(), k.get(), rest.get(), precision_);
      acb_div(out, out, k.get(), precision_);
      return true;
    }
    default:
      return false;
  }
}

bool Evaluation::node(const Node& node, acb_ptr out) {
  if (!budget_.spend(1)) return false;
  if (node.a < 0) return leaf(node, out);
  if (!known(node.a)) return false;
  if (node.b < 0) return unary(node, value(node.a), out);
  return known(node.b) && binary(node, value(node.a), value(node.b), out);
}

}  // namespace

bool ball_value(const Arena& arena, Item item, int trial, int64_t precision, Budget& budget,
                Ball& out, bool* wide) {
  thread_local const FlintCleanup cleanup;
  static_cast<void>(cleanup);
  if (arena[item.node].flags & (kHasContainer | kHasOpaque | kHasInfinity)) return false;
  return Evaluation(arena, item, trial, precision, budget).run(out, wide);
}

}  // namespace ponder::rewards::math
