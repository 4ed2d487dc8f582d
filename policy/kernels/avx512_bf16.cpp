#if defined(__x86_64__)
#include <cstring>

#include "policy/kernels/avx512.h"

namespace ponder::policy::kernels {
namespace {

// Pairs of bfloat16 multiplied and added to float32 by VDPBF16PS.
struct DotBf16 {
  using Element = Bf16;
  using Vector = __m512i;
  static constexpr int kStep = 32;
  static inline Vector load(const Bf16* p) { return _mm512_loadu_si512(p); }
  static inline Vector load(const Bf16* p, int64_t count) {
    return _mm512_maskz_loadu_epi16(static_cast<__mmask32>((1ULL << count) - 1), p);
  }
  static inline __m512 multiply_add(Vector a, Vector b, __m512 sum) {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
  }
};

// Rows x 16 Blocks results. Four products of bytes are added to int32 by VPDPBUSD, which takes one
// factor without a sign: the weights plus 128, so that each group's sum begins at -128 times its
// inputs' sum.
template <int Rows, int Blocks>
PONDER_INLINE void int8_tile(const Int8Row* x, const uint8_t* w, const float* w_scales,
                             int64_t depth, float* y, int64_t y_stride, int64_t columns) {
  __m512 totals[Rows][Blocks];
  PONDER_UNROLL for (int r = 0; r < Rows; ++r) {
    PONDER_UNROLL for (int c = 0; c < Blocks; ++c) totals[r][c] = _mm512_setzero_ps();
  }
  for (int64_t at = 0; at < depth; at += kInt8Group) {
    const int64_t group = at / kInt8Group;
    __m512i sums[Rows][Blocks];
    PONDER_UNROLL for (int r = 0; r < Rows; ++r) {
      PONDER_UNROLL for (int c = 0; c < Blocks; ++c) sums[r][c] =
          _mm512_set1_epi32(-128 * x[r].sums[group]);
    }
    PONDER_UNROLL for (int64_t d = at; d < at + kInt8Group; d += 4) {
      __m512i four[Rows];
      PONDER_UNROLL for (int r = 0; r < Rows; ++r) {
        int32_t bytes;
        std::memcpy(&bytes, x[r].values + d, 4);
        four[r] = _mm512_set1_epi32(bytes);
      }
      PONDER_UNROLL for (int c = 0; c < Blocks; ++c) {
        const __m512i column = _mm512_loadu_si512(w + (c * depth + d) * kInt8Columns);
        PONDER_UNROLL for (int r = 0; r < Rows; ++r) {
          sums[r][c] = _mm512_dpbusd_epi32(sums[r][c], column, four[r]);
        }
      }
    }
    PONDER_UNROLL for (int r = 0; r < Rows; ++r) {
      const __m512 scale = _mm512_set1_ps(x[r].scales[group]);
      PONDER_UNROLL for (int c = 0; c < Blocks; ++c) totals[r][c] =
          _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[r][c]), scale, totals[r][c]);
    }
  }
  PONDER_UNROLL for (int c = 0; c < Blocks; ++c) {
    const __mmask16 mask = first_lanes(std::min<int64_t>(16, columns - 16 * c));
    const __m512 scale = _mm512_loadu_ps(w_scales + 16 * c);
    PONDER_UNROLL for (int r = 0; r < Rows; ++r)
        _mm512_mask_storeu_ps(y + r * y_stride + 16 * c, mask, _mm512_mul_ps(totals[r][c], scale));
  }
}

constexpr int kInt8Tile = 4;  // blocks

void vnni_linear_int8(const Int8Row* x, int64_t num_rows, const uint8_t* w, const float* w_scales,
                      int64_t depth, float* y, int64_t y_stride, int64_t begin, int64_t end) {
  constexpr int64_t kStep = kInt8Tile * kInt8Columns;
  walk_panels(w, depth, num_rows, begin, end, kStep,
              [&](auto rows, int64_t i, int64_t from, int64_t to, Ahead ahead) {
                float* out = y + i * y_stride;
                int64_t j = from;
                for (; j + kStep - kInt8Columns < to; j += kStep) {
                  ahead.step();
                  int8_tile<rows, kInt8Tile>(x + i, w + j * depth, w_scales + j, depth, out + j,
                                             y_stride, to - j);
                }
                for (; j < to; j += kInt8Columns)
                  int8_tile<rows, 1>(x + i, w + j * depth, w_scales + j, depth, out + j, y_stride,
                                     to - j);
              });
}

}  // namespace

const Table kAvx512Bf16Table = make_avx512_table<DotBf16>("avx512_bf16", vnni_linear_int8);

}  // namespace ponder::policy::kernels
#endif
