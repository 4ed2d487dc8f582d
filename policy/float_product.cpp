#include <algorithm>
#include <memory>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "policy/block_gemm.h"
#include "policy/block_product.h"

namespace ponder::policy {
namespace {

constexpr int64_t kTile = 8;
typedef float Lanes __attribute__((vector_size(kTile * sizeof(float)), aligned(4), may_alias));
typedef float Lane __attribute__((may_alias));

// to[c][r] = from[r][c] of a tile, in three rounds of exchanges between rows 1, 2 and 4 apart.
PONDER_INLINE void transpose_tile(const float* from, int64_t from_stride, float* to,
                                  int64_t to_stride) {
  Lanes r[kTile], s[kTile];
  for (int i = 0; i < kTile; ++i) r[i] = *reinterpret_cast<const Lanes*>(from + i * from_stride);
  for (int i = 0; i < kTile; i += 2) {
    s[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
    s[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
  }
  for (int i = 0; i < kTile; i += 4) {
    for (int j = 0; j < 2; ++j) {
      r[i + j] = __builtin_shufflevector(s[i + j], s[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      r[i + j + 2] = __builtin_shufflevector(s[i + j], s[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
  for (int j = 0; j < 4; ++j) {
    *reinterpret_cast<Lanes*>(to + j * to_stride) =
        __builtin_shufflevector(r[j], r[j + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    *reinterpret_cast<Lanes*>(to + (j + 4) * to_stride) =
        __builtin_shufflevector(r[j], r[j + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

// b [k, n] column panel by column panel, each [k][kBlockColumns]; what is beyond n is not set.
std::unique_ptr<float[]> panels_of(const Operand<float>& b, const Extent& e) {
  const int64_t panels = (e.n + kBlockColumns - 1) / kBlockColumns;
  std::unique_ptr<float[]> out(new float[panels * e.k * kBlockColumns]);
  at::parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t first = p * kBlockColumns, columns = std::min(kBlockColumns, e.n - first);
      float* panel = out.get() + first * e.k;
      if (b.transposed) {
        transpose(b.data + first * b.stride, columns, e.k, b.stride, panel, kBlockColumns);
      } else {
        for (int64_t i = 0; i < e.k; ++i)
          std::copy_n(b.data + i * b.stride + first, columns, panel + i * kBlockColumns);
      }
    }
  });
  return out;
}

// Rows [row, row + rows) of the result in its column panels [first, last).
class RowBlock {
 public:
  RowBlock(const Operand<float>& a, const float* panels, const Extent& extent, float* c)
      : a_(a), panels_(panels), e_(extent), c_(c) {
    if (a.transposed) copied_.reset(new float[kBlockRows * kBlockDepth]);
  }

  void compute(int64_t row, int64_t rows, int64_t first, int64_t last) {
    in_parts(e_.k, kBlockDepth, [&](int64_t inner, int64_t depth) {
      const float* a = a_.data + row * a_.stride + inner;
      int64_t stride = a_.stride;
      if (a_.transposed) {
        transpose(a_.data + inner * a_.stride + row, depth, rows, a_.stride, copied_.get(),
                  kBlockDepth);
        a = copied_.get();
        stride = kBlockDepth;
      }
      for (int64_t p = first; p < last; ++p) {
        const int64_t column = p * kBlockColumns, columns = std::min(kBlockColumns, e_.n - column);
        const float* panel = panels_ + column * e_.k + inner * kBlockColumns;
        in_parts(rows, kBlockRows, [&](int64_t r, int64_t size) {
          block_gemm(size, columns, depth, a + r * stride, stride, panel, kBlockColumns,
                     c_ + (row + r) * e_.n + column, e_.n, /*add=*/inner > 0);
        });
      }
    });
  }

 private:
  const Operand<float>& a_;
  const float* panels_;
  const Extent& e_;
  float* c_;
  std::unique_ptr<float[]> copied_;
};

}  // namespace

PONDER_SIMD void transpose(const float* from, int64_t rows, int64_t columns, int64_t from_stride,
                           float* to, int64_t to_stride) {
  const int64_t whole_rows = rows / kTile * kTile, whole_columns = columns / kTile * kTile;
  for (int64_t r = 0; r < whole_rows; r += kTile) {
    for (int64_t c = 0; c < whole_columns; c += kTile)
      transpose_tile(from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride);
  }
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c)
      reinterpret_cast<Lane*>(to)[c * to_stride + r] =
          reinterpret_cast<const Lane*>(from)[r * from_stride + c];
  }
}

at::Tensor float_product(const at::Tensor& a, const at::Tensor& b) {
  const Extent e{a.size(0), b.size(1), a.size(1)};
  at::Tensor c = at::empty({e.m, e.n}, a.options());
  const Operand<float> left(a), right(b);
  const auto panels = panels_of(right, e);
  const int64_t columns = (e.n + kBlockColumns - 1) / kBlockColumns;
  const int64_t blocks = (e.m + kBlockRows - 1) / kBlockRows * columns;
  float* out = c.data_ptr<float>();
  at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
    RowBlock block(left, panels.get(), e, out);
    while (begin < end) {
      const int64_t row = begin / columns * kBlockRows, first = begin % columns;
      const int64_t last = std::min(columns, first + end - begin);
      block.compute(row, std::min(kBlockRows, e.m - row), first, last);
      begin += last - first;
    }
  });
  return c;
}

}  // namespace ponder::policy
