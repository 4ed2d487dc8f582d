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

// Products in 8 bits. A row of inputs is rounded in groups of kInt8Group, each to multiples of its
// own scale: one scale a row would be that of its few great features.
inline constexpr int64_t kInt8Group = 32;
struct Int8Row {
  const int8_t* values;  // [depth]
  const float* scales;   // [depth / kInt8Group]
  const int32_t* sums;   // [depth / kInt8Group]: of the group's values
};
// Weights lie as the products read them: blocks of kInt8Columns columns, in each the columns'
// inputs four at a time, plus 128. The depth is rounded up to whole groups, filled with zeros.
inline constexpr int64_t kInt8Columns = 16;
inline int64_t int8_depth(int64_t k) {
  return (k + kInt8Group - 1) / kInt8Group * kInt8Group;
}
// Where the weight of column j and input d lies.
inline int64_t int8_place(int64_t j, int64_t d, int64_t depth) {
  return j / kInt8Columns * kInt8Columns * depth + d / 4 * 4 * kInt8Columns + j % kInt8Columns * 4 +
         d % 4;
}

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
  // values[i] = round(x[i] / scale) with the group's scale, max |x| / 127 (1 where that is next to
  // nothing, NaN where an x is NaN); int8_depth(count) of them, the last ones 0; and their sums.
  void (*quantize)(const T* x, int64_t count, int8_t* values, float* scales, int32_t* sums);
};

struct Table {
  const char* name;  // "avx512_bf16", "avx512", "avx2", "plain"
  TypedTable<float> f32;
  TypedTable<Bf16> bf16;
  // y[i * y_stride + j] = w_scales[j] * sum over groups g of x[i].scales[g] <x[i], w[j]>_g for the
  // columns begin <= j < end, the products in integers, otherwise as TypedTable::linear. REQUIRES:
  // whole blocks of w and w_scales, and `begin` at the beginning of one.
  void (*linear_int8)(const Int8Row* x, int64_t num_rows, const uint8_t* w, const float* w_scales,
                      int64_t depth, float* y, int64_t y_stride, int64_t begin, int64_t end);
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
