// The kernels with AVX-512 and the tables that hold them. Only for the .cpp files beside it.
#pragma once

#include <algorithm>
#include <cmath>

#include "policy/kernels/avx512_attention.h"
#include "policy/kernels/avx512_linear.h"

namespace ponder::policy::kernels {
namespace {

template <typename T>
void rms_norm(const T* x, const T* weight, T* y, int64_t dim, float eps) {
  __m512 squares = _mm512_setzero_ps();
  for (int64_t i = 0; i < dim; i += 16) {
    const __m512 v = load_float(x + i, first_lanes(std::min<int64_t>(16, dim - i)));
    squares = _mm512_fmadd_ps(v, v, squares);
  }
  const float mean = sum_lanes(squares) / static_cast<float>(dim);
  const __m512 scale = _mm512_set1_ps(1.0f / std::sqrt(mean + eps));
  for (int64_t i = 0; i < dim; i += 16) {
    const __mmask16 mask = first_lanes(std::min<int64_t>(16, dim - i));
    const __m512 normed = _mm512_mul_ps(load_float(x + i, mask), scale);
    store_float(y + i, _mm512_mul_ps(normed, load_float(weight + i, mask)), mask);
  }
}

template <typename T>
void swiglu(const float* gate, const float* up, T* out, int64_t count) {
  const __m512 one = _mm512_set1_ps(1.0f);
  for (int64_t i = 0; i < count; i += 16) {
    const __mmask16 mask = first_lanes(std::min<int64_t>(16, count - i));
    const __m512 g = round_to<T>(load_float(gate + i, mask)),
                 u = round_to<T>(load_float(up + i, mask));
    // exp(-g) overflows no float where g is above -87; below that silu is 0 in float32's eyes.
    const __m512 decay =
        exp_lanes(_mm512_sub_ps(_mm512_setzero_ps(), _mm512_max_ps(g, _mm512_set1_ps(-87.0f))));
    const __m512 silu = round_to<T>(_mm512_div_ps(g, _mm512_add_ps(one, decay)));
    store_float(out + i, _mm512_mul_ps(silu, u), mask);
  }
}

template <typename T>
void add(T* x, const float* y, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) {
    const __mmask16 mask = first_lanes(std::min<int64_t>(16, count - i));
    const __m512 term = round_to<T>(_mm512_maskz_loadu_ps(mask, y + i));
    store_float(x + i, _mm512_add_ps(load_float(x + i, mask), term), mask);
  }
}

template <typename T>
void round(const float* y, T* out, int64_t count) {
  for (int64_t i = 0; i < count; i += 16) {
    const __mmask16 mask = first_lanes(std::min<int64_t>(16, count - i));
    store_float(out + i, _mm512_maskz_loadu_ps(mask, y + i), mask);
  }
}

template <typename T>
void rotate_halves(T* x, const float* cos, const float* sin, int64_t half) {
  for (int64_t i = 0; i < half; i += 16) {
    const __mmask16 mask = first_lanes(std::min<int64_t>(16, half - i));
    const __m512 a = load_float(x + i, mask), b = load_float(x + half + i, mask);
    const __m512 c = _mm512_maskz_loadu_ps(mask, cos + i), s = _mm512_maskz_loadu_ps(mask, sin + i);
    store_float(x + i, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)), mask);
    store_float(x + half + i, _mm512_fmadd_ps(b, c, _mm512_mul_ps(a, s)), mask);
  }
}

template <typename T>
void quantize(const T* x, int64_t count, int8_t* values, float* scales, int32_t* sums) {
  for (int64_t at = 0; at < count; at += kInt8Group, values += kInt8Group) {
    __m512 half[2];
    PONDER_UNROLL for (int i = 0; i < 2; ++i) {
      const int64_t left = std::clamp<int64_t>(count - at - 16 * i, 0, 16);
      half[i] = load_float(x + at + 16 * i, first_lanes(left));
    }
    const bool nan = _mm512_cmp_ps_mask(half[0], half[1], _CMP_UNORD_Q) != 0;
    const __m512 peaks = _mm512_max_ps(_mm512_abs_ps(half[0]), _mm512_abs_ps(half[1]));
    const float scale = int8_scale(nan ? NAN : _mm512_reduce_max_ps(peaks));
    const __m512 inverse = _mm512_set1_ps(1 / scale);
    __m512i sum = _mm512_setzero_si512();
    PONDER_UNROLL for (int i = 0; i < 2; ++i) {
      const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(half[i], inverse));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(values + 16 * i), _mm512_cvtsepi32_epi8(q));
      sum = _mm512_add_epi32(sum, q);
    }
    *scales++ = scale;
    *sums++ = _mm512_reduce_add_epi32(sum);
  }
}

inline float max_of(const float* x, int64_t count) {
  __m512 peaks = _mm512_set1_ps(x[0]);
  for (int64_t i = 0; i < count; i += 16) {
    const __mmask16 mask = first_lanes(std::min<int64_t>(16, count - i));
    peaks = _mm512_max_ps(peaks, _mm512_mask_loadu_ps(peaks, mask, x + i));
  }
  return _mm512_reduce_max_ps(peaks);
}

inline double exp_weights(const float* x, int64_t count, float scale, float peak, float* out,
                          float* sums) {
  double total = 0;
  const __m512 factor = _mm512_set1_ps(scale), top = _mm512_set1_ps(peak);
  for (int64_t begin = 0; begin < count; begin += kSumBlock) {
    const int64_t end = std::min(begin + kSumBlock, count);
    __m512 sum = _mm512_setzero_ps();
    for (int64_t i = begin; i < end; i += 16) {
      const __mmask16 mask = first_lanes(std::min<int64_t>(16, end - i));
      const __m512 shifted = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, x + i), top);
      const __m512 weight = _mm512_maskz_mov_ps(mask, exp_lanes(_mm512_mul_ps(factor, shifted)));
      _mm512_mask_storeu_ps(out + i, mask, weight);
      sum = _mm512_add_ps(sum, weight);
    }
    sums[begin / kSumBlock] = sum_lanes(sum);
    total += sums[begin / kSumBlock];
  }
  return total;
}

template <typename D>
constexpr TypedTable<typename D::Element> typed_table() {
  using T = typename D::Element;
  return {linear<D>, linear_transposed<T>, attend<D>,  rms_norm<T>, swiglu<T>, add<T>,
          round<T>,  rotate_halves<T>,     quantize<T>};
}

template <typename Bf16Dot>
constexpr Table make_avx512_table(const char* name, decltype(Table::linear_int8) linear_int8) {
  return {name, typed_table<DotF32>(), typed_table<Bf16Dot>(), linear_int8, max_of, exp_weights};
}

}  // namespace
}  // namespace ponder::policy::kernels
