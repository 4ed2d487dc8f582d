// FP8 as DeepSeek-V3 trains with it (arXiv:2412.19437 §3.3), emulated exactly on the CPU: E4M3
// values with a float32 scale a tile. Also the format of V3's published weights. The products run
// in float32 on the dequantised values, which hold every E4M3 product exactly.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace ponder::policy {

// Values that share a scale: rows x columns of a matrix.
struct Fp8Tile {
  int64_t rows = 1;
  int64_t cols = 128;
};
inline constexpr Fp8Tile kFp8Rows = {1, 128};      // activations and gradients, along features
inline constexpr Fp8Tile kFp8Columns = {128, 1};   // the same where tokens are summed over
inline constexpr Fp8Tile kFp8Blocks = {128, 128};  // weights

enum class Fp8Scale {
  kExact,       // greatest magnitude / 448
  kPowerOfTwo,  // the next power of two above (V3.1's "ue8m0")
};

struct Fp8Matrix {
  at::Tensor values;  // float8_e4m3fn [rows, cols]
  at::Tensor scales;  // float32 [ceil(rows / tile.rows), ceil(cols / tile.cols)]
  Fp8Tile tile;
};

// x [rows, cols], of any floating dtype. A value is x / scale rounded to nearest even, as V3's
// published act_quant does; tiles of zeros have scale 1; NaN stays NaN. Not differentiable.
Fp8Matrix quantize_fp8(const at::Tensor& x, Fp8Tile tile, Fp8Scale scale = Fp8Scale::kExact);

// value * scale, one float32 product rounded to `dtype`; [rows, cols].
at::Tensor dequantize_fp8(const Fp8Matrix& matrix, at::ScalarType dtype = at::ScalarType::Float);

// x [..., in] times weight [out, in] transposed -> [..., out] in x's dtype, differentiable: V3's
// three products. Fprop: x in 1x128 tiles, weight in 128x128 blocks. Dgrad: the gradient in 1x128
// tiles, the same weight blocks. Wgrad: the gradient in 128x1 tiles and the saved x, requantised
// from its 1x128 to 128x1 tiles. Only the FP8 x is kept for backward. The weight's gradient has the
// weight's dtype. Departure from V3: none of the inputs is kept in E5M6.
at::Tensor fp8_linear(const at::Tensor& x, const at::Tensor& weight);

}  // namespace ponder::policy
