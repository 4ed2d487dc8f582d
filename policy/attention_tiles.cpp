#include "policy/attention_tiles.h"

namespace ponder::policy {
namespace {

struct Keys {
  int64_t begin, end;
};

PONDER_INLINE Keys visible_keys(const TileMask& mask, int64_t row) {
  const int64_t end = mask.end + row / mask.group;
  return {std::clamp<int64_t>(end - mask.window, 0, kTile), std::clamp<int64_t>(end, 0, kTile)};
}

template <typename A>
PONDER_INLINE void online_softmax_rows(A* scores, int64_t rows, const TileMask& mask, A* peak,
                                       A* total, A* sums, int64_t dim) {
  for (int64_t r = 0; r < rows; ++r) {
    A* row = scores + r * kTile;
    const Keys keys = visible_keys(mask, r);
    A highest = peak[r];
#pragma omp simd reduction(max : highest)
    for (int64_t i = keys.begin; i < keys.end; ++i) highest = row[i] > highest ? row[i] : highest;
    A sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = keys.begin; i < keys.end; ++i) {
      row[i] = simd::exp(row[i] - highest);
      sum += row[i];
    }
    for (int64_t i = 0; i < keys.begin; ++i) row[i] = 0;
    for (int64_t i = keys.end; i < kTile; ++i) row[i] = 0;
    // A row that has seen no key yet has nothing to fade.
    const A fade = total[r] > 0 ? simd::exp(peak[r] - highest) : A(0);
    total[r] = total[r] * fade + sum;
    peak[r] = highest;
    if (fade == A(1)) continue;
    A* weighted = sums + r * dim;
#pragma omp simd
    for (int64_t i = 0; i < dim; ++i) weighted[i] *= fade;
  }
}

template <typename A>
PONDER_INLINE void softmax_gradient_rows(A* scores, A* dp, int64_t rows, const TileMask& mask,
                                         const A* lse, const A* dot) {
  for (int64_t r = 0; r < rows; ++r) {
    A *p = scores + r * kTile, *ds = dp + r * kTile;
    const Keys keys = visible_keys(mask, r);
    const A l = lse[r], d = dot[r];
#pragma omp simd
    for (int64_t i = keys.begin; i < keys.end; ++i) {
      p[i] = simd::exp(p[i] - l);
      ds[i] = p[i] * (ds[i] - d);
    }
    for (int64_t i = 0; i < keys.begin; ++i) p[i] = ds[i] = 0;
    for (int64_t i = keys.end; i < kTile; ++i) p[i] = ds[i] = 0;
  }
}

}  // namespace

PONDER_SIMD void online_softmax(float* scores, int64_t rows, const TileMask& mask, float* peak,
                                float* total, float* sums, int64_t dim) {
  online_softmax_rows(scores, rows, mask, peak, total, sums, dim);
}
PONDER_SIMD void online_softmax(double* scores, int64_t rows, const TileMask& mask, double* peak,
                                double* total, double* sums, int64_t dim) {
  online_softmax_rows(scores, rows, mask, peak, total, sums, dim);
}
PONDER_SIMD void softmax_gradient(float* scores, float* dp, int64_t rows, const TileMask& mask,
                                  const float* lse, const float* dot) {
  softmax_gradient_rows(scores, dp, rows, mask, lse, dot);
}
PONDER_SIMD void softmax_gradient(double* scores, double* dp, int64_t rows, const TileMask& mask,
                                  const double* lse, const double* dot) {
  softmax_gradient_rows(scores, dp, rows, mask, lse, dot);
}

}  // namespace ponder::policy
