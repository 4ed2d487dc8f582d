// Attention of a few heads over a paged past with AVX-512. Only for the files of this folder.
#pragma once

#include <algorithm>
#include <limits>

#include "policy/kernels/avx512_vectors.h"

namespace ponder::policy::kernels {
namespace {

template <typename T>
PONDER_INLINE const T* row_of(const CacheView<T>& cache, const Past& past, int64_t position) {
  return cache.rows + past.row(position) * cache.width;
}

// Walks over the rows of a past, one after the other, and stays at the last.
template <typename T>
class PastRows {
 public:
  PastRows(const CacheView<T>& cache, const Past& past, int64_t skipped)
      : cache_(cache), past_(past), position_(std::min(past.first + skipped, past.length - 1)) {
    enter();
  }
  PONDER_INLINE const T* next() {
    const T* row = row_;
    if (position_ + 1 < past_.length) {
      ++position_;
      row_ += cache_.width;
      if (--left_ == 0) enter();
    }
    return row;
  }

 private:
  void enter() {
    row_ = row_of(cache_, past_, position_);
    left_ = past_.block_size - position_ % past_.block_size;
  }
  const CacheView<T>& cache_;
  const Past& past_;
  int64_t position_, left_ = 0;
  const T* row_ = nullptr;
};

// Positions that are asked for ahead of those that are scored: a cache that many sequences fill
// lies in memory, and its rows are too far apart for the processor to guess the next.
constexpr int64_t kPositionsAhead = 16;

template <typename T>
PONDER_INLINE void ask_for(const CacheView<T>& cache, const T* row) {
  const char *key = reinterpret_cast<const char*>(row + cache.key_offset),
             *value = reinterpret_cast<const char*>(row + cache.value_offset);
  const auto key_bytes = cache.key_dim * static_cast<int64_t>(sizeof(T));
  const auto value_bytes = cache.value_dim * static_cast<int64_t>(sizeof(T));
  for (int64_t i = 0; i < key_bytes; i += 64) _mm_prefetch(key + i, _MM_HINT_T0);
  if (value < key + key_bytes) return;  // latent attention: the same bytes
  for (int64_t i = 0; i < value_bytes; i += 64) _mm_prefetch(value + i, _MM_HINT_T1);
}

// scores[h * stride + p] = scale * <q[h], key[p]> for Heads heads.
template <typename D, int Heads>
void score_heads(const typename D::Element* q, const CacheView<typename D::Element>& cache,
                 const Past& past, float scale, float* scores, int64_t stride) {
  using T = typename D::Element;
  const int64_t dim = cache.key_dim;
  const int64_t count = past.count();
  PastRows<T> rows(cache, past, 0), ahead(cache, past, kPositionsAhead);
  for (int64_t p = 0; p < count; p += 8) {
    const T* keys[8];
    for (int64_t i = 0; i < 8; ++i) keys[i] = rows.next() + cache.key_offset;
    if (p + kPositionsAhead < count) {
      for (int64_t i = 0; i < 8; ++i) ask_for(cache, ahead.next());
    }
    __m512 sums[Heads][8];
    PONDER_UNROLL for (int h = 0; h < Heads; ++h) {
      PONDER_UNROLL for (int i = 0; i < 8; ++i) sums[h][i] = _mm512_setzero_ps();
    }
    const auto step = [&](int64_t at, auto load) __attribute__((always_inline)) {
      typename D::Vector queries[Heads];
      PONDER_UNROLL for (int h = 0; h < Heads; ++h) queries[h] = load(q + h * dim + at);
      PONDER_UNROLL for (int i = 0; i < 8; ++i) {
        const typename D::Vector key = load(keys[i] + at);
        PONDER_UNROLL for (int h = 0; h < Heads; ++h) {
          sums[h][i] = D::multiply_add(queries[h], key, sums[h][i]);
        }
      }
    };
    int64_t at = 0;
    for (; at + D::kStep <= dim; at += D::kStep)
      step(
          at, [](const auto* p) __attribute__((always_inline)) { return D::load(p); });
    if (at < dim) {
      const int64_t rest = dim - at;
      step(
          at, [rest](const auto* p) __attribute__((always_inline)) { return D::load(p, rest); });
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

}  // namespace
}  // namespace ponder::policy::kernels
