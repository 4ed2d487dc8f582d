// Products with AVX-512: a tile of rows x columns of sums stays in registers and runs along k with
// both operands as they lie in memory. No packed copy of the weights, and the order in which a
// result is added up does not depend on the tile. Only for the files of this folder.
#pragma once

#include <algorithm>
#include <type_traits>

#include "policy/kernels/avx512_vectors.h"

namespace ponder::policy::kernels {
namespace {

// A tile of Rows x Columns products along k, as raw lanes.
template <typename D, int Rows, int Columns>
PONDER_INLINE void tile(const typename D::Element* const* x, const typename D::Element* w,
                        int64_t k, __m512 (&sums)[Rows * Columns]) {
  PONDER_UNROLL for (int i = 0; i < Rows * Columns; ++i) sums[i] = _mm512_setzero_ps();
  const auto step = [&](int64_t at, auto load) __attribute__((always_inline)) {
    typename D::Vector rows[Rows];
    PONDER_UNROLL for (int r = 0; r < Rows; ++r) rows[r] = load(x[r] + at);
    PONDER_UNROLL for (int c = 0; c < Columns; ++c) {
      const typename D::Vector column = load(w + c * k + at);
      PONDER_UNROLL for (int r = 0; r < Rows; ++r) {
        sums[r * Columns + c] = D::multiply_add(rows[r], column, sums[r * Columns + c]);
      }
    }
  };
  int64_t at = 0;
  for (; at + D::kStep <= k; at += D::kStep)
    step(
        at, [](const auto* p) __attribute__((always_inline)) { return D::load(p); });
  if (at < k) {
    const int64_t rest = k - at;
    step(
        at, [rest](const auto* p) __attribute__((always_inline)) { return D::load(p, rest); });
  }
}

// Rows x Columns results of a tile; Rows * Columns is 8, 16 or 24, or Columns is 1.
template <typename D, int Rows, int Columns>
PONDER_INLINE void tile_out(const typename D::Element* const* x, const typename D::Element* w,
                            int64_t k, float* y, int64_t y_stride) {
  __m512 sums[Rows * Columns];
  tile<D, Rows, Columns>(x, w, k, sums);
  if constexpr (Columns == 8) {
    PONDER_UNROLL for (int r = 0; r < Rows; ++r) {
      const __m512 eight[8] = {sums[r * 8],     sums[r * 8 + 1], sums[r * 8 + 2], sums[r * 8 + 3],
                               sums[r * 8 + 4], sums[r * 8 + 5], sums[r * 8 + 6], sums[r * 8 + 7]};
      _mm256_storeu_ps(y + r * y_stride, sum_lanes(eight));
    }
  } else if constexpr (Columns == 4 && Rows % 2 == 0) {
    PONDER_UNROLL for (int r = 0; r < Rows; r += 2) {
      const __m512 eight[8] = {sums[r * 4],     sums[r * 4 + 1], sums[r * 4 + 2], sums[r * 4 + 3],
                               sums[r * 4 + 4], sums[r * 4 + 5], sums[r * 4 + 6], sums[r * 4 + 7]};
      const __m256 both = sum_lanes(eight);
      _mm_storeu_ps(y + r * y_stride, _mm256_castps256_ps128(both));
      _mm_storeu_ps(y + (r + 1) * y_stride, _mm256_extractf128_ps(both, 1));
    }
  } else {
    PONDER_UNROLL for (int r = 0; r < Rows; ++r) {
      PONDER_UNROLL for (int c = 0; c < Columns; ++c) y[r * y_stride + c] =
          sum_lanes(sums[r * Columns + c]);
    }
  }
}

// Weights that are asked for while others are multiplied: else the first rows that pass over a
// panel would wait for memory, and all others for nothing. What lies behind the last panel is asked
// for too: often it is the next columns, and asking for an address is never an error.
class Ahead {
 public:
  // Part `part` of `parts` of the bytes behind `end`, in `steps` steps.
  Ahead(const void* end, int64_t bytes, int64_t part, int64_t parts, int64_t steps) {
    const int64_t lines = (bytes + 63) / 64;
    const int64_t from = lines * part / parts, to = lines * (part + 1) / parts;
    at_ = reinterpret_cast<uintptr_t>(end) + from * 64;
    end_ = at_ + (to - from) * 64;
    step_ = (to - from + steps - 1) / std::max<int64_t>(steps, 1) * 64;
  }
  PONDER_INLINE void step() {
    for (const uintptr_t stop = std::min(at_ + step_, end_); at_ < stop; at_ += 64)
      _mm_prefetch(reinterpret_cast<const char*>(at_), _MM_HINT_T1);
  }

 private:
  uintptr_t at_, end_, step_;
};

template <typename D, int Rows, int Columns>
void row_band(const typename D::Element* const* x, const typename D::Element* w, int64_t k,
              float* y, int64_t y_stride, int64_t begin, int64_t end, Ahead ahead) {
  int64_t j = begin;
  for (; j + Columns <= end; j += Columns) {
    ahead.step();
    tile_out<D, Rows, Columns>(x, w + j * k, k, y + j, y_stride);
  }
  for (; j < end; ++j) tile_out<D, Rows, 1>(x, w + j * k, k, y + j, y_stride);
}

// Bytes of weights that stay in the first-level cache while all rows pass over them.
constexpr int64_t kPanelBytes = 32 << 10;

// Walks over panels of `w` that fit the cache, whole steps of `grain` columns, each by bands of up
// to three rows: band_of(rows, first row, from, to, ahead), rows a compile-time number.
template <typename Element, typename Band>
PONDER_INLINE void walk_panels(const Element* w, int64_t k, int64_t num_rows, int64_t begin,
                               int64_t end, int64_t grain, const Band& band_of) {
  const int64_t row_bytes = k * static_cast<int64_t>(sizeof(Element));
  const int64_t panel =
      num_rows <= 3 ? end - begin : std::max(grain, kPanelBytes / row_bytes / grain * grain);
  const int64_t bands = (num_rows + 2) / 3;
  for (int64_t from = begin; from < end; from += panel) {
    const int64_t to = std::min(from + panel, end), bytes = num_rows <= 3 ? 0 : panel * row_bytes;
    for (int64_t band = 0; band < bands; ++band) {
      const int64_t i = 3 * band;
      const Ahead ahead(w + to * k, bytes, band, bands, (to - from) / grain);
      switch (num_rows - i) {
        case 1:
          band_of(std::integral_constant<int, 1>(), i, from, to, ahead);
          break;
        case 2:
          band_of(std::integral_constant<int, 2>(), i, from, to, ahead);
          break;
        default:
          band_of(std::integral_constant<int, 3>(), i, from, to, ahead);
      }
    }
  }
}

template <typename D>
void linear(const typename D::Element* const* x, int64_t num_rows, const typename D::Element* w,
            int64_t k, float* y, int64_t y_stride, int64_t begin, int64_t end) {
  walk_panels(w, k, num_rows, begin, end, 8,
              [&](auto rows, int64_t i, int64_t from, int64_t to, const Ahead& ahead) {
                row_band<D, rows, 8>(x + i, w, k, y + i * y_stride, y_stride, from, to, ahead);
              });
}

template <typename T, int Rows, int Vectors>
PONDER_INLINE void transposed_tile(const T* const* x, const T* w, int64_t w_stride, int64_t k,
                                   float* y, int64_t y_stride, int64_t columns) {
  __m512 sums[Rows][Vectors];
  __mmask16 masks[Vectors];
  PONDER_UNROLL for (int v = 0; v < Vectors; ++v) {
    masks[v] = first_lanes(std::clamp<int64_t>(columns - 16 * v, 0, 16));
    PONDER_UNROLL for (int r = 0; r < Rows; ++r) sums[r][v] = _mm512_setzero_ps();
  }
  for (int64_t d = 0; d < k; ++d) {
    PONDER_UNROLL for (int v = 0; v < Vectors; ++v) {
      const __m512 row = load_float(w + d * w_stride + 16 * v, masks[v]);
      PONDER_UNROLL for (int r = 0; r < Rows; ++r) {
        sums[r][v] = _mm512_fmadd_ps(_mm512_set1_ps(to_float(x[r][d])), row, sums[r][v]);
      }
    }
  }
  PONDER_UNROLL for (int v = 0; v < Vectors; ++v) {
    PONDER_UNROLL for (int r = 0; r < Rows; ++r)
        _mm512_mask_storeu_ps(y + r * y_stride + 16 * v, masks[v], sums[r][v]);
  }
}

template <typename T>
void linear_transposed(const T* const* x, int64_t num_rows, const T* w, int64_t w_stride, int64_t k,
                       float* y, int64_t y_stride, int64_t columns) {
  for (int64_t j = 0; j < columns; j += 64) {
    const int64_t width = std::min<int64_t>(64, columns - j);
    int64_t i = 0;
    for (; i + 4 <= num_rows; i += 4)
      transposed_tile<T, 4, 4>(x + i, w + j, w_stride, k, y + i * y_stride + j, y_stride, width);
    for (; i < num_rows; ++i)
      transposed_tile<T, 1, 4>(x + i, w + j, w_stride, k, y + i * y_stride + j, y_stride, width);
  }
}

}  // namespace
}  // namespace ponder::policy::kernels
