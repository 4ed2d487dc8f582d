// `ponder bench fp8`: what DeepSeek-V3's FP8 products lose against float32, beside bfloat16's.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace ponder::cli {

// One JSON object; "products" lists, for each kind of input and each of a linear's three products
// (fprop, dgrad, wgrad), the error |got - exact| / |exact| in the Frobenius norm, with `tokens`
// rows of `features` inputs and as many outputs. Inputs are normal numbers, or such where one
// feature in a hundred is 50 times larger, as activations of language models have them.
nlohmann::json bench_fp8(int64_t tokens, int64_t features);

}  // namespace ponder::cli
