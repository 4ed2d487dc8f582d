// JSON texts from outside, before they are parsed.
#pragma once

#include <string_view>

namespace ponder::data {

// Deeper than data that anybody means to write; whatever walks through a value (its dump, a
// comparison) takes stack for each level.
inline constexpr int kJsonDepthMax = 200;

// Whether brackets outside strings are nested deeper than `depth_max`. The text need not be JSON.
bool nests_deeper(std::string_view text, int depth_max = kJsonDepthMax);

}  // namespace ponder::data
