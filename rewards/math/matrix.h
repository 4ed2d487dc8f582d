// Sums and products of matrices, written out entry by entry.
#pragma once

#include "rewards/math/expr.h"

namespace ponder::rewards::math {

// The kMatrix node that an expression of matrices comes to, or -1 if shapes do not fit or it is
// none.
int matrix_value(Arena& arena, int node, int depth = 0);

}  // namespace ponder::rewards::math
