// The kernels in portable C++, written so that the compiler turns the loops over lanes into
// vectors: compiled once for any processor and once with AVX2. Only for the .cpp files beside it.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "policy/kernels/tables.h"

namespace ponder::policy::kernels {
namespace {

constexpr int kLanes = 16;

// The lanes' sum, by halves.
inline float sum_lanes(float (&lanes)[kLanes]) {
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

template <typename T>
float dot(const T* a, const T* b, int64_t count) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) lanes[l] += to_float(a[i + l]) * to_float(b[i + l]);
  }
  for (int l = 0; i + l < count; ++l) lanes[l] += to_float(a[i + l]) * to_float(b[i + l]);
  return sum_lanes(lanes);
}

template <typename T>
void linear(const T* const* x, int64_t num_rows, const T* w, int64_t k, float* y, int64_t y_stride,
            int64_t begin, int64_t end) {
  for (int64_t j = begin; j < end; ++j) {
    for (int64_t i = 0; i < num_rows; ++i) y[i * y_stride + j] = dot(x[i], w + j * k, k);
  }
}

template <typename T>
void linear_transposed(const T* const* x, int64_t num_rows, const T* w, int64_t w_stride, int64_t k,
                       float* y, int64_t y_stride, int64_t columns) {
  for (int64_t i = 0; i < num_rows; ++i) {
    float* out = y + i * y_stride;
    std::fill_n(out, columns, 0.0f);
    for (int64_t d = 0; d < k; ++d) {
      const float factor = to_float(x[i][d]);
      for (int64_t j = 0; j < columns; ++j) out[j] += factor * to_float(w[d * w_stride + j]);
    }
  }
}

// Cephes' expf: 2^n times a polynomial of degree 5 on [-ln 2 / 2, ln 2 / 2]; below -87 it is 0.
inline float exp_fast(float x) {
  if (x < -87.0f) return 0.0f;
  const float n = std::nearbyint(x * 1.44269504088896341f);
  const float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * __builtin_bit_cast(float, (static_cast<int32_t>(n) + 127) << 23);
}

template <typename T>
void attend(const T* q, int64_t heads, const CacheView<T>& cache, const Past& past, float scale,
            float* scratch, float* out) {
  const int64_t count = past.count();
  const auto row = [&](int64_t p) { return cache.rows + past.row(past.first + p) * cache.width; };
  for (int64_t h = 0; h < heads; ++h) {
    float peak = -std::numeric_limits<float>::infinity();
    for (int64_t p = 0; p < count; ++p) {
      scratch[p] = scale * dot(q + h * cache.key_dim, row(p) + cache.key_offset, cache.key_dim);
      peak = std::max(peak, scratch[p]);
    }
    float total = 0;
    for (int64_t p = 0; p < count; ++p) {
      scratch[p] = exp_fast(scratch[p] - peak);
      total += scratch[p];
    }
    float* mean = out + h * cache.value_dim;
    std::fill_n(mean, cache.value_dim, 0.0f);
    for (int64_t p = 0; p < count; ++p) {
      const T* value = row(p) + cache.value_offset;
      for (int64_t d = 0; d < cache.value_dim; ++d) mean[d] += scratch[p] * to_float(value[d]);
    }
    for (int64_t d = 0; d < cache.value_dim; ++d) mean[d] /= total;
  }
}

template <typename T>
void rms_norm(const T* x, const T* weight, T* y, int64_t dim, float eps) {
  const float scale = 1.0f / std::sqrt(dot(x, x, dim) / static_cast<float>(dim) + eps);
  for (int64_t i = 0; i < dim; ++i)
    y[i] = from_float<T>(to_float(x[i]) * scale * to_float(weight[i]));
}

template <typename T>
void swiglu(const float* gate, const float* up, T* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const float g = to_float(from_float<T>(gate[i])), u = to_float(from_float<T>(up[i]));
    out[i] = from_float<T>(to_float(from_float<T>(g / (1.0f + std::exp(-g)))) * u);
  }
}

template <typename T>
void add(T* x, const float* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    x[i] = from_float<T>(to_float(x[i]) + to_float(from_float<T>(y[i])));
}

template <typename T>
void round(const float* y, T* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = from_float<T>(y[i]);
}

template <typename T>
void rotate_halves(T* x, const float* cos, const float* sin, int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    const float a = to_float(x[i]), b = to_float(x[half + i]);
    x[i] = from_float<T>(a * cos[i] - b * sin[i]);
    x[half + i] = from_float<T>(b * cos[i] + a * sin[i]);
  }
}

template <typename T>
void quantize(const T* x, int64_t count, int8_t* values, float* scales, int32_t* sums) {
  for (int64_t at = 0; at < count; at += kInt8Group, values += kInt8Group) {
    const int64_t size = std::min(kInt8Group, count - at);
    float peak = 0;
    for (int64_t i = 0; i < size && !std::isnan(peak); ++i) {
      const float magnitude = std::abs(to_float(x[at + i]));
      if (!(magnitude <= peak)) peak = magnitude;
    }
    const float scale = int8_scale(peak), inverse = 1 / scale;
    int32_t sum = 0;
    std::fill_n(values, kInt8Group, int8_t{0});
    for (int64_t i = 0; i < size && std::isfinite(scale); ++i)
      sum += values[i] = static_cast<int8_t>(std::nearbyint(to_float(x[at + i]) * inverse));
    *scales++ = scale;
    *sums++ = sum;
  }
}

inline void linear_int8(const Int8Row* x, int64_t num_rows, const uint8_t* w, const float* w_scales,
                        int64_t depth, float* y, int64_t y_stride, int64_t begin, int64_t end) {
  for (int64_t j = begin; j < end; j += kInt8Columns) {
    for (int64_t i = 0; i < num_rows; ++i) {
      float totals[kInt8Columns] = {};
      for (int64_t at = 0; at < depth; at += kInt8Group) {
        int32_t sums[kInt8Columns];
        std::fill_n(sums, kInt8Columns, -128 * x[i].sums[at / kInt8Group]);
        for (int64_t d = at; d < at + kInt8Group; ++d) {
          const uint8_t* four = w + int8_place(j, d, depth);
          for (int64_t c = 0; c < kInt8Columns; ++c) sums[c] += x[i].values[d] * four[4 * c];
        }
        for (int64_t c = 0; c < kInt8Columns; ++c)
          totals[c] += x[i].scales[at / kInt8Group] * static_cast<float>(sums[c]);
      }
      for (int64_t c = 0; c < std::min(kInt8Columns, end - j); ++c)
        y[i * y_stride + j + c] = totals[c] * w_scales[j + c];
    }
  }
}

inline float max_of(const float* x, int64_t count) {
  float lanes[kLanes];
  std::fill_n(lanes, kLanes, x[0]);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) lanes[l] = std::max(lanes[l], x[i + l]);
  }
  for (; i < count; ++i) lanes[0] = std::max(lanes[0], x[i]);
  return *std::max_element(lanes, lanes + kLanes);
}

inline double exp_weights(const float* x, int64_t count, float scale, float peak, float* out,
                          float* sums) {
  double total = 0;
  for (int64_t begin = 0; begin < count; begin += kSumBlock) {
    const int64_t end = std::min(begin + kSumBlock, count);
    float sum = 0;
    for (int64_t i = begin; i < end; ++i) {
      out[i] = exp_fast(scale * (x[i] - peak));
      sum += out[i];
    }
    sums[begin / kSumBlock] = sum;
    total += sum;
  }
  return total;
}

template <typename T>
constexpr TypedTable<T> typed_table() {
  return {linear<T>, linear_transposed<T>, attend<T>,  rms_norm<T>, swiglu<T>, add<T>,
          round<T>,  rotate_halves<T>,     quantize<T>};
}

constexpr Table make_table(const char* name) {
  return {name, typed_table<float>(), typed_table<Bf16>(), linear_int8, max_of, exp_weights};
}

}  // namespace
}  // namespace ponder::policy::kernels
