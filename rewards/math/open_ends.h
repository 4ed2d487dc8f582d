// Intervals whose open ends are written with brackets that face away.
#pragma once

#include <vector>

#include "rewards/math/lexer.h"

namespace ponder::rewards::math {

// Rewrites ]a,b[ as (a,b) and [a,b[ as [a,b) (ISO 80000-2, 2-7.10), anywhere in `tokens`. False if
// there are none. Linear in the tokens.
bool turn_open_ends(std::vector<Token>& tokens);

}  // namespace ponder::rewards::math
