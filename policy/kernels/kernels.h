// The inner loops of sampling, on plain pointers: products of a few rows with a weight matrix as
// the trainer stores it, attention of one query group over a paged cache, weights of a softmax. One
// table of functions an instruction set, chosen once by what the processor has. Knows neither
// models nor threads.
//
// What every function promises, and the tests hold it to: a result is a function of its own row's
// inputs alone, added up in one fixed order. The same bits come out whatever else is in the batch,
// and however rows and columns are split.
#pragma once

#include <cstdint>

namespace ponder::policy::kernels {

// bfloat16 as its bits: the upper half of a float32.
using Bf16 = uint16_t;

// Where positions first .. length - 1 lie in a paged cache: position p in row table[p / block_size]
// * block_size + p % block_size.
struct Past {
  const int32_t* table;
  int64_t block_size;
  int64_t first;
  int64_t length;
  int64_t count() const { return length - first; }
  int64_t row(int64_t position) const {
    return table[position / block_size] * block_size + position % block_size;
  }
};

// A cache of one layer: rows of `width` elements; a key is the `key_dim` elements at `key_offset`,
// a value the `value_dim` at `value_offset` (they may overlap: latent attention).
template <typename T>
struct CacheView {
  const T* rows;
  int64_t width;
  int64_t key_offset, key_dim;
  int64_t value_offset, value_dim;
};

template <typename T>
struct TypedTable {
  // y[i * y_stride + j] = <x[i], w[j]> for the rows i < num_rows and the columns begin <= j < end,
  // in float32. x: one pointer a row, each to `k` elements; w [columns, k]; y: float32.
  void (*linear)(const T* const* x, int64_t num_rows, const T* w, int64_t k, float* y,
                 int64_t y_stride, int64_t begin, int64_t end);
  // y[i * y_stride + j] = sum over d < k of x[i][d] w[d * w_stride + j] for 0 <= j < columns: the
  // same with the matrix lying the other way.
  void (*linear_transposed)(const T* const* x, int64_t num_rows, const T* w, int64_t w_stride,
                            int64_t k, float* y, int64_t y_stride, int64_t columns);
  // out [heads, value_dim] = softmax(scale * <q[h], key[p]>) value[p] over the past, for `heads`
  // queries that share keys and values. q [heads, key_dim]. scratch: heads * (count + 16) floats.
  void (*attend)(const T* q, int64_t heads, const CacheView<T>& cache, const Past& past,
                 float scale, float* scratch, float* out);
  // y = x / sqrt(mean(x^2) + eps) * weight, [dim].
  void (*rms_norm)(const T* x, const T* weight, T* y, int64_t dim, float eps);
  // out[i] = T(T(silu(T(gate[i]))) * T(up[i])): rounded as the trainer rounds.
  void (*swiglu)(const float* gate, const float* up, T* out, int64_t count);
  // x[i] = T(x[i] + T(y[i])).
  void (*add)(T* x, const float* y, int64_t count);
  // out[i] = T(y[i]).
  void (*round)(const float* y, T* out, int64_t count);
  // Rotates x [2 half] in place: (x[i], x[half + i]) by the angle of cos[i] and sin[i].
  void (*rotate_halves)(T* x, const float* cos, const float* sin, int64_t half);
  // out[i] = round(x[i] / scale) + 128 with the returned scale, max |x| / 127 (1 where all are 0).
  float (*quantize)(const T* x, int64_t count, uint8_t* out);
};

struct Table {
  const char* name;  // "avx512_bf16", "avx512", "avx2", "plain"
  TypedTable<float> f32;
  TypedTable<Bf16> bf16;
  // y[i * y_stride + j] = <x[i], w[j]> in integers, otherwise as TypedTable::linear.
  void (*linear_int8)(const uint8_t* const* x, int64_t num_rows, const int8_t* w, int64_t k,
                      int32_t* y, int64_t y_stride, int64_t begin, int64_t end);
  // The greatest of `count` >= 1 numbers; any of them where one is NaN.
  float (*max_of)(const float* x, int64_t count);
  // out[i] = exp(scale * (x[i] - peak)); returns their sum, NaN where an x is NaN or
  // plus infinity. sums: one a block of kSumBlock.
  double (*exp_weights)(const float* x, int64_t count, float scale, float peak, float* out,
                        float* sums);
};
inline constexpr int64_t kSumBlock = 256;

// The best table for this processor. The environment variable PONDER_KERNELS names a lesser one.
const Table& best();
// Every table that this processor can run, the best first; "plain" is the last.
int num_tables();
const Table& table(int index);

inline float to_float(Bf16 x) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(x) << 16);
}
inline float to_float(float x) {
  return x;
}
// Round to nearest even; NaN stays NaN.
inline Bf16 to_bf16(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return static_cast<Bf16>((bits >> 16) | 0x40U);
  return static_cast<Bf16>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}
template <typename T>
T from_float(float x) {
  if constexpr (sizeof(T) == 2) {
    return to_bf16(x);
  } else {
    return x;
  }
}

}  // namespace ponder::policy::kernels
