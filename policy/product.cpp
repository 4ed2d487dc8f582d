#include "policy/product.h"

#include <algorithm>
#include <memory>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include "policy/block_gemm.h"
#include "policy/simd.h"

namespace ponder::policy {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// A block of the result, and the inner dimension's part that a transposed operand is copied for at
// a time. The order of a sum depends on kDepth alone.
constexpr int64_t kRows = 64;
constexpr int64_t kColumns = 64;
constexpr int64_t kDepth = 256;

// A matrix in row-major memory, or the transpose of one.
struct Operand {
  const float* data;
  int64_t stride;
  bool transposed;
};

Operand operand(const at::Tensor& x) {
  const bool transposed = x.stride(1) != 1;
  return {x.const_data_ptr<float>(), transposed ? x.stride(1) : x.stride(0), transposed};
}

bool plain_memory(const at::Tensor& x) {
  return (x.stride(1) == 1 && x.stride(0) >= x.size(1)) ||
         (x.stride(0) == 1 && x.stride(1) >= x.size(0));
}

constexpr int64_t kTile = 8;
typedef float Lanes __attribute__((vector_size(kTile * sizeof(float)), aligned(4), may_alias));

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

// to [columns, rows] = from [rows, columns] transposed.
PONDER_SIMD void transpose(const float* from, int64_t rows, int64_t columns, int64_t from_stride,
                           float* to, int64_t to_stride) {
  const int64_t whole_rows = rows / kTile * kTile, whole_columns = columns / kTile * kTile;
  for (int64_t r = 0; r < whole_rows; r += kTile) {
    for (int64_t c = 0; c < whole_columns; c += kTile)
      transpose_tile(from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride);
  }
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = r < whole_rows ? whole_columns : 0; c < columns; ++c)
      to[c * to_stride + r] = from[r * from_stride + c];
  }
}

// The product's shape.
struct Extent {
  int64_t m, n, k;
};

// b [k, n] column panel by column panel, each [k][kColumns]; what is beyond n is not set.
std::unique_ptr<float[]> panels_of(const Operand& b, const Extent& e) {
  const int64_t panels = (e.n + kColumns - 1) / kColumns;
  std::unique_ptr<float[]> out(new float[panels * e.k * kColumns]);
  at::parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t first = p * kColumns, columns = std::min(kColumns, e.n - first);
      float* panel = out.get() + first * e.k;
      if (b.transposed) {
        transpose(b.data + first * b.stride, columns, e.k, b.stride, panel, kColumns);
      } else {
        for (int64_t i = 0; i < e.k; ++i)
          std::copy_n(b.data + i * b.stride + first, columns, panel + i * kColumns);
      }
    }
  });
  return out;
}

// Calls body(begin, size) for [0, total) in parts of `limit` and then of falling powers of two:
// block_gemm() gets few distinct sizes, whatever the total.
template <typename Body>
PONDER_INLINE void in_parts(int64_t total, int64_t limit, const Body& body) {
  int64_t begin = 0;
  for (int64_t size = limit; begin < total; size /= 2) {
    for (; total - begin >= size; begin += size) body(begin, size);
  }
}

// Rows [row, row + rows) of the result in its column panels [first, last).
class RowBlock {
 public:
  RowBlock(const Operand& a, const float* panels, const Extent& extent, float* c)
      : a_(a), panels_(panels), e_(extent), c_(c) {
    if (a.transposed) copied_.reset(new float[kRows * kDepth]);
  }

  void compute(int64_t row, int64_t rows, int64_t first, int64_t last) {
    in_parts(e_.k, kDepth, [&](int64_t inner, int64_t depth) {
      const float* a = a_.data + row * a_.stride + inner;
      int64_t stride = a_.stride;
      if (a_.transposed) {
        transpose(a_.data + inner * a_.stride + row, depth, rows, a_.stride, copied_.get(), kDepth);
        a = copied_.get();
        stride = kDepth;
      }
      for (int64_t p = first; p < last; ++p) {
        const int64_t column = p * kColumns, columns = std::min(kColumns, e_.n - column);
        const float* panel = panels_ + column * e_.k + inner * kColumns;
        in_parts(rows, kRows, [&](int64_t r, int64_t size) {
          block_gemm(size, columns, depth, a + r * stride, stride, panel, kColumns,
                     c_ + (row + r) * e_.n + column, e_.n, /*add=*/inner > 0);
        });
      }
    });
  }

 private:
  const Operand& a_;
  const float* panels_;
  const Extent& e_;
  float* c_;
  std::unique_ptr<float[]> copied_;
};

at::Tensor float_product(const at::Tensor& a, const at::Tensor& b) {
  const Extent e{a.size(0), b.size(1), a.size(1)};
  at::Tensor c = at::empty({e.m, e.n}, a.options());
  const Operand left = operand(a), right = operand(b);
  const auto panels = panels_of(right, e);
  const int64_t columns = (e.n + kColumns - 1) / kColumns;
  const int64_t blocks = (e.m + kRows - 1) / kRows * columns;
  float* out = c.data_ptr<float>();
  at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
    RowBlock block(left, panels.get(), e, out);
    while (begin < end) {
      const int64_t row = begin / columns * kRows, first = begin % columns;
      const int64_t last = std::min(columns, first + end - begin);
      block.compute(row, std::min(kRows, e.m - row), first, last);
      begin += last - first;
    }
  });
  return c;
}

// Below this LibTorch's product is as fast.
constexpr int64_t kSmallProduct = 64 * 64 * 64;

bool takes(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == at::kFloat && a.device().is_cpu() && block_gemm_is_fast() &&
         a.size(0) * b.numel() >= kSmallProduct && plain_memory(a) && plain_memory(b);
}

struct FloatLinear : Function<FloatLinear> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight) {
    ctx->save_for_backward({weight.requires_grad() ? x : at::Tensor(), weight});
    return product(x, weight.t());
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor g = grads[0].contiguous();
    variable_list out(2);
    if (ctx->needs_input_grad(0)) out[0] = product(g, saved[1]);
    if (ctx->needs_input_grad(1)) out[1] = product(g.t(), saved[0]);
    return out;
  }
};

}  // namespace

at::Tensor product(const at::Tensor& a, const at::Tensor& b) {
  return takes(a, b) ? float_product(a, b) : at::mm(a, b);
}

at::Tensor linear_map(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (x.scalar_type() != at::kFloat || !x.device().is_cpu() || !block_gemm_is_fast())
    return at::linear(x, weight, bias.defined() ? std::optional(bias) : std::nullopt);
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes.back() = weight.size(0);
  const at::Tensor y = FloatLinear::apply(x.reshape({-1, x.size(-1)}), weight).view(sizes);
  return bias.defined() ? y + bias : y;
}

}  // namespace ponder::policy
