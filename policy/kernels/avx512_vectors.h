// What the kernels with AVX-512 are made of: elements as vectors, and sums of their lanes. Only for
// the files of this folder.
#pragma once

#include <cstdint>

#include <immintrin.h>

#include "policy/kernels/tables.h"

#define PONDER_UNROLL _Pragma("GCC unroll 16")

namespace ponder::policy::kernels {
namespace {

#define PONDER_INLINE inline __attribute__((always_inline))

PONDER_INLINE __mmask16 first_lanes(int64_t count) {
  return static_cast<__mmask16>((1U << count) - 1);
}

struct DotF32 {
  using Element = float;
  using Vector = __m512;
  static constexpr int kStep = 16;
  static PONDER_INLINE Vector load(const float* p) { return _mm512_loadu_ps(p); }
  static PONDER_INLINE Vector load(const float* p, int64_t count) {
    return _mm512_maskz_loadu_ps(first_lanes(count), p);
  }
  static PONDER_INLINE __m512 multiply_add(Vector a, Vector b, __m512 sum) {
    return _mm512_fmadd_ps(a, b, sum);
  }
};

PONDER_INLINE __m512 widen(__m256i bits) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}

// bfloat16 widened to float32 before the product.
struct WideBf16 {
  using Element = Bf16;
  using Vector = __m512;
  static constexpr int kStep = 16;
  static PONDER_INLINE Vector load(const Bf16* p) {
    return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static PONDER_INLINE Vector load(const Bf16* p, int64_t count) {
    return widen(_mm256_maskz_loadu_epi16(first_lanes(count), p));
  }
  static PONDER_INLINE __m512 multiply_add(Vector a, Vector b, __m512 sum) {
    return _mm512_fmadd_ps(a, b, sum);
  }
};

// Elements as float32 vectors, and back with the trainer's rounding.
PONDER_INLINE __m512 load_float(const float* p, __mmask16 mask) {
  return _mm512_maskz_loadu_ps(mask, p);
}
PONDER_INLINE __m512 load_float(const Bf16* p, __mmask16 mask) {
  return widen(_mm256_maskz_loadu_epi16(mask, p));
}
PONDER_INLINE __m256i narrow(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_srli_epi32(
      _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __m512i quiet = _mm512_or_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(0x40));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_mask_blend_epi32(nan, rounded, quiet));
}
PONDER_INLINE void store_float(float* p, __m512 x, __mmask16 mask) {
  _mm512_mask_storeu_ps(p, mask, x);
}
PONDER_INLINE void store_float(Bf16* p, __m512 x, __mmask16 mask) {
  _mm256_mask_storeu_epi16(p, mask, narrow(x));
}
template <typename T>
PONDER_INLINE __m512 round_to(__m512 x) {
  if constexpr (sizeof(T) == 2) {
    return widen(narrow(x));
  } else {
    return x;
  }
}

// The sums of eight vectors' lanes. Every sum of lanes goes through here: one order for all.
PONDER_INLINE __m256 sum_lanes(const __m512 (&v)[8]) {
  __m512 pair[4], quad[2];
  PONDER_UNROLL for (int i = 0; i < 4; ++i) {
    pair[i] = _mm512_add_ps(_mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]),
                            _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]));
  }
  PONDER_UNROLL for (int i = 0; i < 2; ++i) {
    const __m512d a = _mm512_castps_pd(pair[2 * i]), b = _mm512_castps_pd(pair[2 * i + 1]);
    quad[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)),
                            _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
  }
  const __m512 sums = _mm512_add_ps(_mm512_shuffle_f32x4(quad[0], quad[1], 0x88),
                                    _mm512_shuffle_f32x4(quad[0], quad[1], 0xdd));
  const __m512 folded = _mm512_add_ps(sums, _mm512_shuffle_f32x4(sums, sums, 0xb1));
  return _mm512_castps512_ps256(_mm512_shuffle_f32x4(folded, folded, 0x08));
}

PONDER_INLINE float sum_lanes(__m512 v) {
  const __m512 zero = _mm512_setzero_ps();
  const __m512 eight[8] = {v, zero, zero, zero, zero, zero, zero, zero};
  return _mm256_cvtss_f32(sum_lanes(eight));
}

// exp as in generic.h, sixteen at a time; within 1 ulp or two of the true value, 0 below -87,
// NaN of NaN.
PONDER_INLINE __m512 exp_lanes(__m512 x) {
  const __mmask16 alive = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-87.0f), _CMP_NLT_UQ);
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504088896341f)), 0);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fmadd_ps(n, _mm512_set1_ps(2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.9875691500e-4f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
  p = _mm512_fmadd_ps(_mm512_mul_ps(p, r), r, _mm512_add_ps(r, _mm512_set1_ps(1.0f)));
  return _mm512_maskz_scalef_ps(alive, p, n);
}

}  // namespace
}  // namespace ponder::policy::kernels
