// The kernels with AVX-512. A product keeps a tile of rows x columns of sums in registers and runs
// along k with both operands as they lie in memory: no packed copy of the weights, and the order in
// which a result is added up does not depend on the tile. Only for the .cpp files beside it.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

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

template <typename D, int Rows, int Columns>
void row_band(const typename D::Element* const* x, const typename D::Element* w, int64_t k,
              float* y, int64_t y_stride, int64_t begin, int64_t end) {
  int64_t j = begin;
  for (; j + Columns <= end; j += Columns)
    tile_out<D, Rows, Columns>(x, w + j * k, k, y + j, y_stride);
  for (; j < end; ++j) tile_out<D, Rows, 1>(x, w + j * k, k, y + j, y_stride);
}

// Bytes of weights that stay in the first-level cache while all rows pass over them.
constexpr int64_t kPanelBytes = 32 << 10;

template <typename D>
void linear(const typename D::Element* const* x, int64_t num_rows, const typename D::Element* w,
            int64_t k, float* y, int64_t y_stride, int64_t begin, int64_t end) {
  const int64_t fit = kPanelBytes / (k * static_cast<int64_t>(sizeof(typename D::Element)));
  const int64_t panel = num_rows <= 3 ? end - begin : std::max<int64_t>(8, fit / 8 * 8);
  for (int64_t from = begin; from < end; from += panel) {
    const int64_t to = std::min(from + panel, end);
    int64_t i = 0;
    for (; i + 3 <= num_rows; i += 3)
      row_band<D, 3, 8>(x + i, w, k, y + i * y_stride, y_stride, from, to);
    if (num_rows - i == 2) row_band<D, 2, 8>(x + i, w, k, y + i * y_stride, y_stride, from, to);
    if (num_rows - i == 1) row_band<D, 1, 8>(x + i, w, k, y + i * y_stride, y_stride, from, to);
  }
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

// exp as in generic.h, sixteen at a time; within 1 ulp or two of the true value, 0 below -87.
PONDER_INLINE __m512 exp_lanes(__m512 x) {
  const __mmask16 alive = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-87.0f), _CMP_GE_OQ);
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

template <typename T>
PONDER_INLINE const T* row_of(const CacheView<T>& cache, const Past& past, int64_t position) {
  return cache.rows + past.row(position) * cache.width;
}

// scores[h * stride + p] = scale * <q[h], key[p]> for Heads heads.
template <typename D, int Heads>
void score_heads(const typename D::Element* q, const CacheView<typename D::Element>& cache,
                 const Past& past, float scale, float* scores, int64_t stride) {
  using T = typename D::Element;
  const int64_t dim = cache.key_dim;
  const int64_t count = past.count();
  for (int64_t p = 0; p < count; p += 8) {
    const T* keys[8];
    for (int64_t i = 0; i < 8; ++i)
      keys[i] = row_of(cache, past, past.first + std::min(p + i, count - 1)) + cache.key_offset;
    __m512 sums[Heads][8];
    PONDER_UNROLL for (int h = 0; h < Heads; ++h) {
      PONDER_UNROLL for (int i = 0; i < 8; ++i) sums[h][i] = _mm512_setzero_ps();
    }
    for (int64_t at = 0; at < dim; at += D::kStep) {
      const int64_t rest = std::min<int64_t>(D::kStep, dim - at);
      typename D::Vector queries[Heads];
      PONDER_UNROLL for (int h = 0; h < Heads; ++h) queries[h] = D::load(q + h * dim + at, rest);
      PONDER_UNROLL for (int i = 0; i < 8; ++i) {
        const typename D::Vector key = D::load(keys[i] + at, rest);
        PONDER_UNROLL for (int h = 0; h < Heads; ++h) {
          sums[h][i] = D::multiply_add(queries[h], key, sums[h][i]);
        }
      }
    }
    PONDER_UNROLL for (int h = 0; h < Heads; ++h) {
      _mm256_storeu_ps(scores + h * stride + p,
                       _mm256_mul_ps(_mm256_set1_ps(scale), sum_lanes(sums[h])));
    }
  }
}

// Turns scores into exp(score - peak); returns their sum. Lanes beyond the end become 0.
PONDER_INLINE float softmax_weights(float* scores, int64_t length) {
  const __m512 low = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  __m512 peaks = low, total = _mm512_setzero_ps();
  for (int64_t p = 0; p < length; p += 16) {
    const __mmask16 mask = first_lanes(std::min<int64_t>(16, length - p));
    peaks = _mm512_max_ps(peaks, _mm512_mask_loadu_ps(low, mask, scores + p));
  }
  const __m512 peak = _mm512_set1_ps(_mm512_reduce_max_ps(peaks));
  for (int64_t p = 0; p < length; p += 16) {
    const __mmask16 mask = first_lanes(std::min<int64_t>(16, length - p));
    const __m512 x = _mm512_sub_ps(_mm512_mask_loadu_ps(low, mask, scores + p), peak);
    const __m512 weight = _mm512_maskz_mov_ps(mask, exp_lanes(x));
    _mm512_storeu_ps(scores + p, weight);
    total = _mm512_add_ps(total, weight);
  }
  return sum_lanes(total);
}

// out[h][d .. d + 16 Vectors) = sum over p of weights[h * stride + p] * value[p], over totals[h].
template <typename T, int Heads, int Vectors>
PONDER_INLINE void mean_values(const CacheView<T>& cache, const Past& past, const float* weights,
                               int64_t stride, const float* totals, int64_t d, float* out) {
  __m512 sums[Heads][Vectors];
  __mmask16 masks[Vectors];
  PONDER_UNROLL for (int v = 0; v < Vectors; ++v) {
    masks[v] = first_lanes(std::clamp<int64_t>(cache.value_dim - d - 16 * v, 0, 16));
    PONDER_UNROLL for (int h = 0; h < Heads; ++h) sums[h][v] = _mm512_setzero_ps();
  }
  for (int64_t p = past.first; p < past.length;) {
    const int64_t end = std::min((p / past.block_size + 1) * past.block_size, past.length);
    const T* value = row_of(cache, past, p) + cache.value_offset + d;
    for (; p < end; ++p, value += cache.width) {
      PONDER_UNROLL for (int v = 0; v < Vectors; ++v) {
        const __m512 x = load_float(value + 16 * v, masks[v]);
        PONDER_UNROLL for (int h = 0; h < Heads; ++h) {
          sums[h][v] =
              _mm512_fmadd_ps(_mm512_set1_ps(weights[h * stride + p - past.first]), x, sums[h][v]);
        }
      }
    }
  }
  PONDER_UNROLL for (int h = 0; h < Heads; ++h) {
    PONDER_UNROLL for (int v = 0; v < Vectors; ++v) {
      _mm512_mask_storeu_ps(out + h * cache.value_dim + d + 16 * v, masks[v],
                            _mm512_div_ps(sums[h][v], _mm512_set1_ps(totals[h])));
    }
  }
}

template <typename D, int Heads>
void attend_heads(const typename D::Element* q, const CacheView<typename D::Element>& cache,
                  const Past& past, float scale, float* scratch, float* out) {
  const int64_t stride = (past.count() + 15) / 16 * 16;
  score_heads<D, Heads>(q, cache, past, scale, scratch, stride);
  float totals[Heads];
  for (int h = 0; h < Heads; ++h) totals[h] = softmax_weights(scratch + h * stride, past.count());
  for (int64_t d = 0; d < cache.value_dim; d += 64) {
    mean_values<typename D::Element, Heads, 4>(cache, past, scratch, stride, totals, d, out);
  }
}

template <typename D>
void attend(const typename D::Element* q, int64_t heads,
            const CacheView<typename D::Element>& cache, const Past& past, float scale,
            float* scratch, float* out) {
  int64_t h = 0;
  for (; h + 3 <= heads; h += 3)
    attend_heads<D, 3>(q + h * cache.key_dim, cache, past, scale, scratch,
                       out + h * cache.value_dim);
  for (; h < heads; ++h)
    attend_heads<D, 1>(q + h * cache.key_dim, cache, past, scale, scratch,
                       out + h * cache.value_dim);
}

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
float quantize(const T* x, int64_t count, uint8_t* out) {
  __m512 peaks = _mm512_setzero_ps();
  for (int64_t i = 0; i < count; i += 16) {
    const __mmask16 mask = first_lanes(std::min<int64_t>(16, count - i));
    peaks = _mm512_max_ps(peaks, _mm512_abs_ps(load_float(x + i, mask)));
  }
  const float peak = _mm512_reduce_max_ps(peaks), scale = peak > 0 ? peak / 127 : 1;
  const __m512 inverse = _mm512_set1_ps(1 / scale);
  for (int64_t i = 0; i < count; i += 16) {
    const __mmask16 mask = first_lanes(std::min<int64_t>(16, count - i));
    const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(load_float(x + i, mask), inverse));
    _mm_mask_storeu_epi8(out + i, mask,
                         _mm512_cvtepi32_epi8(_mm512_add_epi32(q, _mm512_set1_epi32(128))));
  }
  return scale;
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
  return {linear<D>, linear_transposed<T>, attend<D>, rms_norm<T>, swiglu<T>, add<T>, quantize<T>};
}

template <typename Bf16Dot>
constexpr Table make_avx512_table(const char* name, decltype(Table::linear_int8) linear_int8) {
  return {name, typed_table<DotF32>(), typed_table<Bf16Dot>(), linear_int8, max_of, exp_weights};
}

}  // namespace
}  // namespace ponder::policy::kernels
