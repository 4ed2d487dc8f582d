// Are two parsed answers the same? Containers, relations and the marks that answers carry (percent,
// names before "=", units) are taken apart here; what is left goes to scalar.h. It knows nothing of
// text.
#pragma once

#include "rewards/math/evaluate.h"
#include "rewards/math/math.h"

namespace ponder::rewards::math {

// Both live in `arena`, which grows (differences, ratios). False also when equality was not shown
// within the budget.
bool same_answer(Arena& arena, int gold, int answer, const MathOptions& options, Budget& budget);

}  // namespace ponder::rewards::math
