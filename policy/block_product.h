// Inside product.cpp: matrix products block by block, in any number of threads with the same bits.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "policy/simd.h"

namespace ponder::policy {

// A matrix in row-major memory, or the transpose of one, whose rows are `stride` elements apart.
template <typename T>
struct Operand {
  explicit Operand(const at::Tensor& x)
      : data(x.const_data_ptr<T>()),
        stride(x.stride(1) == 1 ? x.stride(0) : x.stride(1)),
        transposed(x.stride(1) != 1) {}

  const T* data;
  int64_t stride;
  bool transposed;
};

// The product's shape.
struct Extent {
  int64_t m, n, k;
};

// A block of the result, and the inner dimension's part that is multiplied at a time. The order of
// a sum depends on kBlockDepth alone.
constexpr int64_t kBlockRows = 64;
constexpr int64_t kBlockColumns = 64;
constexpr int64_t kBlockDepth = 256;

// Calls body(begin, size) for [0, total) in parts of `limit` and then of falling powers of two:
// block_gemm() gets few distinct sizes, whatever the total.
template <typename Body>
PONDER_INLINE void in_parts(int64_t total, int64_t limit, const Body& body) {
  int64_t begin = 0;
  for (int64_t size = limit; begin < total; size /= 2) {
    for (; total - begin >= size; begin += size) body(begin, size);
  }
}

// to [columns, rows] = from [rows, columns] transposed; strides in elements.
void transpose(const float* from, int64_t rows, int64_t columns, int64_t from_stride, float* to,
               int64_t to_stride);

// a [m, k] b [k, n] -> [m, n] of operands that block_product_takes().
at::Tensor float_product(const at::Tensor& a, const at::Tensor& b);
// The same in bfloat16: float32 sums, rounded once.
at::Tensor bfloat16_product(const at::Tensor& a, const at::Tensor& b);

}  // namespace ponder::policy
