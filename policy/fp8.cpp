#include "policy/fp8.h"

#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "core/error.h"
#include "policy/device/ops.h"
#include "policy/fp8_tile.h"

namespace ponder::policy {
namespace {

int64_t tiles(int64_t size, int64_t tile) {
  return (size + tile - 1) / tile;
}

// Values of the 256 codes.
const float* decoded_codes() {
  static const std::vector<float> table = [] {
    std::vector<float> values(256);
    for (int code = 0; code < 256; ++code) values[code] = from_e4m3(static_cast<uint8_t>(code));
    return values;
  }();
  return table.data();
}

void check_matrix(const Fp8Matrix& m) {
  const bool fits = m.values.dim() == 2 && m.scales.dim() == 2 &&
                    m.values.scalar_type() == at::kFloat8_e4m3fn &&
                    m.scales.size(0) == tiles(m.values.size(0), m.tile.rows) &&
                    m.scales.size(1) == tiles(m.values.size(1), m.tile.cols);
  PONDER_CHECK(fits, "[dequantize_fp8] scales do not fit the values and tiles of {} x {}",
               m.tile.rows, m.tile.cols);
}

}  // namespace

Fp8Matrix quantize_fp8(const at::Tensor& x, Fp8Tile tile, Fp8Scale scale) {
  PONDER_CHECK(x.dim() == 2, "[quantize_fp8] expected a matrix, got {} dimensions", x.dim());
  if (!x.is_cpu()) return device::quantize_fp8(x, tile, scale);
  const at::Tensor plain = x.detach().to(at::kFloat).contiguous();
  const int64_t rows = plain.size(0), cols = plain.size(1);
  Fp8Matrix out{at::empty({rows, cols}, at::kFloat8_e4m3fn),
                at::empty({tiles(rows, tile.rows), tiles(cols, tile.cols)}, at::kFloat), tile};
  const float* data = plain.const_data_ptr<float>();
  auto* codes = static_cast<uint8_t*>(out.values.data_ptr());
  auto* scales = out.scales.data_ptr<float>();
  at::parallel_for(0, out.scales.numel(), 32, [&](int64_t first, int64_t last) {
    for (int64_t t = first; t < last; ++t) {
      const TileView view = tile_at(t, rows, cols, tile.rows, tile.cols);
      scales[t] = tile_scale(greatest_in_tile(data, view), scale == Fp8Scale::kPowerOfTwo);
      encode_tile(data, codes, scales[t], view);
    }
  });
  return out;
}

at::Tensor dequantize_fp8(const Fp8Matrix& matrix, at::ScalarType dtype) {
  check_matrix(matrix);
  if (!matrix.values.is_cpu()) return device::dequantize_fp8(matrix, dtype);
  const at::Tensor values = matrix.values.contiguous();
  const at::Tensor scales = matrix.scales.to(at::kFloat).contiguous();
  const int64_t rows = values.size(0), cols = values.size(1);
  at::Tensor out = at::empty({rows, cols}, at::kFloat);
  const auto* codes = static_cast<const uint8_t*>(values.const_data_ptr());
  const float *scale = scales.const_data_ptr<float>(), *decoded = decoded_codes();
  float* data = out.data_ptr<float>();
  at::parallel_for(0, rows, 16, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      const float* own = scale + r / matrix.tile.rows * scales.size(1);
      for (int64_t c = 0; c < cols; ++c)
        data[r * cols + c] = decoded[codes[r * cols + c]] * own[c / matrix.tile.cols];
    }
  });
  return out.to(dtype);
}

}  // namespace ponder::policy
