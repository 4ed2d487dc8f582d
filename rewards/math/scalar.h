// Are two expressions the same number or the same function? Exactly where that can be, by certified
// numerics elsewhere (math.h says which and why). It knows nothing of lists, sets, relations or
// words.
#pragma once

#include "rewards/math/evaluate.h"
#include "rewards/math/math.h"

namespace ponder::rewards::math {

enum class Same { kYes, kNo, kUnknown };

Same same_scalar(const Arena& arena, Item left, Item right, Budget& budget);

// One is a decimal literal that says the other, a constant, to `decimals` places at least; see
// MathOptions::float_rounding.
bool rounds_to(const Arena& arena, Item left, Item right, int decimals, Budget& budget);

// -1, 0, 1 as left is less than, equal to or greater than right, infinities included; 2: constants
// that cannot be compared.
int order(const Arena& arena, Item left, Item right, Budget& budget);

// Whether `expression` is a constant other than zero although it is written with symbols: its sign
// (1 or -1), 2 for one whose sign is not known, 0 if it is not constant or cannot be judged.
int constant_sign(const Arena& arena, Item expression, Budget& budget);

// 1 or -1 for plus or minus infinity, 0 for anything else.
int infinity_sign(const Arena& arena, int node);

}  // namespace ponder::rewards::math
