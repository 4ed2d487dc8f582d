#if defined(__x86_64__)
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

// Four products of bytes added to int32 by VPDPBUSD. The sums are exact, so their order is free.
template <int Rows, int Columns>
PONDER_INLINE void int8_tile(const uint8_t* const* x, const int8_t* w, int64_t k, int32_t* y,
                             int64_t y_stride) {
  __m512i sums[Rows][Columns];
  PONDER_UNROLL for (int r = 0; r < Rows; ++r) {
    PONDER_UNROLL for (int c = 0; c < Columns; ++c) sums[r][c] = _mm512_setzero_si512();
  }
  for (int64_t at = 0; at < k; at += 64) {
    const int64_t rest = std::min<int64_t>(64, k - at);
    const __mmask64 mask = rest == 64 ? ~__mmask64{0} : (__mmask64{1} << rest) - 1;
    __m512i rows[Rows];
    PONDER_UNROLL for (int r = 0; r < Rows; ++r) {
      rows[r] = _mm512_maskz_loadu_epi8(mask, x[r] + at);
    }
    PONDER_UNROLL for (int c = 0; c < Columns; ++c) {
      const __m512i column = _mm512_maskz_loadu_epi8(mask, w + c * k + at);
      PONDER_UNROLL for (int r = 0; r < Rows; ++r) {
        sums[r][c] = _mm512_dpbusd_epi32(sums[r][c], rows[r], column);
      }
    }
  }
  PONDER_UNROLL for (int r = 0; r < Rows; ++r) {
    PONDER_UNROLL for (int c = 0; c < Columns; ++c) y[r * y_stride + c] =
        _mm512_reduce_add_epi32(sums[r][c]);
  }
}

template <int Rows>
void int8_band(const uint8_t* const* x, const int8_t* w, int64_t k, int32_t* y, int64_t y_stride,
               int64_t begin, int64_t end, Ahead ahead) {
  int64_t j = begin;
  for (; j + 8 <= end; j += 8) {
    ahead.step();
    int8_tile<Rows, 8>(x, w + j * k, k, y + j, y_stride);
  }
  for (; j < end; ++j) int8_tile<Rows, 1>(x, w + j * k, k, y + j, y_stride);
}

void vnni_linear_int8(const uint8_t* const* x, int64_t num_rows, const int8_t* w, int64_t k,
                      int32_t* y, int64_t y_stride, int64_t begin, int64_t end) {
  walk_panels(w, k, num_rows, begin, end,
              [&](auto rows, int64_t i, int64_t from, int64_t to, const Ahead& ahead) {
                int8_band<rows>(x + i, w, k, y + i * y_stride, y_stride, from, to, ahead);
              });
}

}  // namespace

const Table kAvx512Bf16Table = make_avx512_table<DotBf16>("avx512_bf16", vnni_linear_int8);

}  // namespace ponder::policy::kernels
#endif
