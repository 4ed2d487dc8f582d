#include "policy/fp8.h"

#include <algorithm>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "core/error.h"
#include "policy/fp8_tile.h"

namespace ponder::policy {
namespace {

int64_t tiles(int64_t size, int64_t tile) {
  return (size + tile - 1) / tile;
}

// Rows of one row of tiles: first and one past the last.
struct Span {
  int64_t begin, end;
};

// Scale of each tile in the row of tiles over `rows`; x [rows, cols].
void find_scales(const float* x, Span rows, int64_t cols, int64_t tile_cols, bool power_of_two,
                 float* scales) {
  std::fill_n(scales, tiles(cols, tile_cols), 0.0f);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      float& greatest = scales[c / tile_cols];
      greatest = std::max(greatest, std::abs(x[r * cols + c]));
    }
  }
  for (int64_t t = 0; t < tiles(cols, tile_cols); ++t)
    scales[t] = tile_scale(scales[t], power_of_two);
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
  const at::Tensor plain = x.detach().to(at::kCPU, at::kFloat).contiguous();
  const int64_t rows = plain.size(0), cols = plain.size(1);
  Fp8Matrix out{at::empty({rows, cols}, at::kFloat8_e4m3fn),
                at::empty({tiles(rows, tile.rows), tiles(cols, tile.cols)}, at::kFloat), tile};
  const float* data = plain.const_data_ptr<float>();
  auto* codes = static_cast<uint8_t*>(out.values.data_ptr());
  auto* scales = out.scales.data_ptr<float>();
  const int64_t scale_cols = out.scales.size(1);
  at::parallel_for(0, out.scales.size(0), 1, [&](int64_t first, int64_t last) {
    for (int64_t t = first; t < last; ++t) {
      const Span span{t * tile.rows, std::min(rows, (t + 1) * tile.rows)};
      float* own = scales + t * scale_cols;
      find_scales(data, span, cols, tile.cols, scale == Fp8Scale::kPowerOfTwo, own);
      for (int64_t r = span.begin; r < span.end; ++r) {
        for (int64_t c = 0; c < cols; ++c)
          codes[r * cols + c] = to_e4m3(data[r * cols + c] / own[c / tile.cols]);
      }
    }
  });
  return out;
}

at::Tensor dequantize_fp8(const Fp8Matrix& matrix, at::ScalarType dtype) {
  check_matrix(matrix);
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
