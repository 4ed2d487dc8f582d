#include <algorithm>
#include <memory>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "policy/block_gemm.h"
#include "policy/block_product.h"

#if defined(__x86_64__)
#include <immintrin.h>
// Runs only where the processor rounds by itself: block_gemm_is_fast(kBFloat16).
#define PONDER_ROUND __attribute__((target("avx512f,avx512bf16")))
#else
#define PONDER_ROUND
#endif

namespace ponder::policy {
namespace {

using at::BFloat16;

// The inner dimension is filled up with zeros to a multiple of this: few distinct depths.
constexpr int64_t kDepthStep = 32;

// Two neighbours along the inner dimension, as the processor's instruction takes them: the first in
// the lower half. Moved as floats too, which changes no bit.
using Pair = uint32_t;
static_assert(sizeof(Pair) == sizeof(float));

const float* as_floats(const void* pairs) {
  return static_cast<const float*>(pairs);
}

// to[i][c] = {from[2 i][c], from[2 i + 1][c]}; rows beyond `rows` are zeros. to: [pairs, columns].
PONDER_SIMD void pair_rows(const BFloat16* from, int64_t stride, int64_t rows, int64_t columns,
                           Pair* to, int64_t to_stride, int64_t pairs) {
  for (int64_t i = 0; i < pairs; ++i) {
    const auto* first = reinterpret_cast<const uint16_t*>(from + 2 * i * stride);
    const auto* second = first + stride;
    Pair* out = to + i * to_stride;
    for (int64_t c = 0; c < columns; c += 32) {
      __builtin_prefetch(first + 16 * stride + c);
      __builtin_prefetch(second + 16 * stride + c);
    }
    if (2 * i + 1 < rows) {
      for (int64_t c = 0; c < columns; ++c) out[c] = first[c] | Pair{second[c]} << 16;
    } else if (2 * i < rows) {
      std::copy_n(first, columns, out);
    } else {
      std::fill_n(out, columns, 0);
    }
  }
}

int64_t filled(int64_t k) {
  return (k + kDepthStep - 1) / kDepthStep * kDepthStep;
}

// b [k, n] column panel by column panel, each [filled(k) / 2][kBlockColumns] pairs; what is beyond
// n is not set.
std::unique_ptr<Pair[]> panels_of(const Operand<BFloat16>& b, const Extent& e) {
  const int64_t panels = (e.n + kBlockColumns - 1) / kBlockColumns, pairs = filled(e.k) / 2;
  std::unique_ptr<Pair[]> out(new Pair[panels * pairs * kBlockColumns]);
  at::parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const int64_t first = p * kBlockColumns, columns = std::min(kBlockColumns, e.n - first);
      Pair* panel = out.get() + first * pairs;
      if (b.transposed) {
        transpose(as_floats(b.data + first * b.stride), columns, e.k / 2, b.stride / 2,
                  reinterpret_cast<float*>(panel), kBlockColumns);
        std::fill_n(panel + e.k / 2 * kBlockColumns, (pairs - e.k / 2) * kBlockColumns, 0);
      } else {
        pair_rows(b.data + first, b.stride, e.k, columns, panel, kBlockColumns, pairs);
      }
    }
  });
  return out;
}

// a [m, k] as block_gemm() takes it, the inner dimension filled up: a itself where it lies so, else
// copied in tiles of [kBlockRows][kBlockDepth].
class LeftOperand {
 public:
  LeftOperand(const Operand<BFloat16>& a, const Extent& e)
      : a_(a), e_(e), chunks_((e.k + kBlockDepth - 1) / kBlockDepth) {
    if (!a.transposed && filled(e.k) == e.k) return;
    const int64_t tiles = (e.m + kBlockRows - 1) / kBlockRows * chunks_;
    tiles_.reset(new BFloat16[tiles * kTileSize]);
    at::parallel_for(0, tiles, 1, [&](int64_t begin, int64_t end) {
      for (int64_t tile = begin; tile < end; ++tile)
        fill(tile / chunks_ * kBlockRows, tile % chunks_ * kBlockDepth,
             tiles_.get() + tile * kTileSize);
    });
  }

  int64_t stride() const { return tiles_ ? kBlockDepth : a_.stride; }
  const BFloat16* at(int64_t row, int64_t inner) const {
    if (!tiles_) return a_.data + row * a_.stride + inner;
    return tiles_.get() + (row / kBlockRows * chunks_ + inner / kBlockDepth) * kTileSize +
           row % kBlockRows * kBlockDepth + inner % kBlockDepth;
  }

 private:
  static constexpr int64_t kTileSize = kBlockRows * kBlockDepth;

  void fill(int64_t row, int64_t inner, BFloat16* to) const {
    const int64_t rows = std::min(kBlockRows, e_.m - row), depth = e_.k - inner;
    const int64_t used = std::min(kBlockDepth, filled(depth));
    if (a_.transposed) {
      Pair pairs[kTileSize / 2];
      pair_rows(a_.data + inner * a_.stride + row, a_.stride, depth, rows, pairs, kBlockRows,
                used / 2);
      transpose(as_floats(pairs), used / 2, rows, kBlockRows, reinterpret_cast<float*>(to),
                kBlockDepth / 2);
      return;
    }
    for (int64_t r = 0; r < rows; ++r, to += kBlockDepth) {
      std::copy_n(a_.data + (row + r) * a_.stride + inner, std::min(used, depth), to);
      std::fill(to + std::min(used, depth), to + used, BFloat16(0));
    }
  }

  const Operand<BFloat16> a_;
  const Extent e_;
  const int64_t chunks_;
  std::unique_ptr<BFloat16[]> tiles_;
};

// to [rows, columns] = sums, rounded; sums' rows are kBlockColumns apart.
PONDER_ROUND void round_block(const float* sums, int64_t rows, int64_t columns, BFloat16* to,
                              int64_t to_stride) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* from = sums + r * kBlockColumns;
    BFloat16* own = to + r * to_stride;
    int64_t c = 0;
#if defined(__x86_64__)
    for (; c + 16 <= columns; c += 16)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(own + c),
                          (__m256i)_mm512_cvtneps_pbh(_mm512_load_ps(from + c)));
#endif
    for (; c < columns; ++c) simd::store(own[c], from[c]);
  }
}

}  // namespace

at::Tensor bfloat16_product(const at::Tensor& a, const at::Tensor& b) {
  const Extent e{a.size(0), b.size(1), a.size(1)};
  const at::Tensor c = at::empty({e.m, e.n}, a.options());
  const LeftOperand left(Operand<BFloat16>(a), e);
  const int64_t depth = filled(e.k), columns = (e.n + kBlockColumns - 1) / kBlockColumns;
  const auto panels = panels_of(Operand<BFloat16>(b), e);
  auto* out = c.data_ptr<BFloat16>();
  const int64_t blocks = (e.m + kBlockRows - 1) / kBlockRows * columns;
  at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
    alignas(64) float sums[kBlockRows * kBlockColumns];
    for (int64_t block = begin; block < end; ++block) {
      const int64_t row = block / columns * kBlockRows, column = block % columns * kBlockColumns;
      const int64_t rows = std::min(kBlockRows, e.m - row),
                    width = std::min(kBlockColumns, e.n - column);
      const Pair* panel = panels.get() + column * (depth / 2);
      in_parts(rows, kBlockRows, [&](int64_t r, int64_t size) {
        in_parts(depth, kBlockDepth, [&](int64_t inner, int64_t part) {
          block_gemm(size, width, part, left.at(row + r, inner), left.stride(),
                     reinterpret_cast<const BFloat16*>(panel + inner / 2 * kBlockColumns),
                     kBlockColumns, sums, kBlockColumns, /*add=*/inner > 0);
        });
        round_block(sums, size, width, out + (row + r) * e.n + column, e.n);
      });
    }
    block_gemm_release();
  });
  return c;
}

}  // namespace ponder::policy
