// Three ways to give a parsed expression a value, each one loop over the arena: exactly (GMP
// rationals), in a prime field, and as a complex ball (Arb). A way that cannot reach a value within
// its budget says so; none of them guesses. They do not know what is compared with what.
#pragma once

#include <cstdint>
#include <optional>

#include <gmpxx.h>

#if __has_include(<flint/arb.h>)  // a part of FLINT from version 3 on
#include <flint/acb.h>
#else
#include <acb.h>
#endif

#include "rewards/math/expr.h"

namespace ponder::rewards::math {

// What all comparisons of one answer may cost together; a unit is about a microsecond.
struct Budget {
  int64_t units = 20000;
  bool spend(int64_t cost) { return (units -= cost) > 0; }
};

// A node, with the sign that \pm stands for in it (\mp for the other); 0: both are meant, which a
// value cannot be.
struct Item {
  int node = -1;
  int sign = 0;
};

// The rational number, if the expression has no symbol and is made of rational operations, roots
// that come out even included. Nothing of more than 32,768 bits is ever built.
std::optional<mpq_class> exact_value(const Arena& arena, Item item, Budget& budget);

// The value modulo one of two primes of 61 bits with each symbol at a pseudo-random point, for
// rational functions; i is a root of -1 there. A function or construct that is not known counts as
// a symbol named by its values. `trial` picks prime and point.
std::optional<uint64_t> modular_value(const Arena& arena, Item item, int trial, Budget& budget);

// A value known up to a radius.
class Ball {
 public:
  Ball() { acb_init(value_); }
  ~Ball() { acb_clear(value_); }
  Ball(const Ball&) = delete;
  Ball& operator=(const Ball&) = delete;
  acb_ptr get() { return value_; }
  acb_srcptr get() const { return value_; }

 private:
  acb_t value_;
};

// Encloses the value with every symbol at a real point that `trial` picks (0, 1: between 0 and 1;
// 2, 3: from 1 to 4; above: of any sign). False if there is none within the budget: a pole, a
// branch in doubt, a tower of powers. `wide` is set if an intermediate value is beyond
// 2^±(precision / 4), where agreement says little.
bool ball_value(const Arena& arena, Item item, int trial, int64_t precision, Budget& budget,
                Ball& out, bool* wide);

}  // namespace ponder::rewards::math
