// The inner parts of attention.cpp: key tiles in scratch memory and the softmax of a block.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "policy/simd.h"

namespace ponder::policy {

constexpr int64_t kTile = 64;         // keys in a tile
constexpr int64_t kQueryTokens = 64;  // tokens whose queries make a block, all heads of a group

// Blocks at a sequence's end are filled up to a multiple of 16 tokens: few shapes of products.
inline int64_t padded_rows(int64_t tokens) {
  return (tokens + 15) / 16 * 16;
}

// A strided [tokens, heads, dim] tensor.
template <typename T>
struct Heads {
  T* data;
  int64_t token_stride, head_stride, dim;
  T* row(int64_t token, int64_t head) const {
    return data + token * token_stride + head * head_stride;
  }
};

// Vectors of `dim` features at positions 0, 1, ..., kTile to a tile, as rows [position, feature]
// and as columns [feature, position]: products want the one or the other.
template <typename A>
class Tiles {
 public:
  Tiles(int64_t positions, int64_t dim)
      : dim_(dim), rows_((positions + kTile - 1) / kTile * kTile * dim), columns_(rows_.size()) {}

  A* rows(int64_t tile) { return rows_.data() + tile * kTile * dim_; }
  A* columns(int64_t tile) { return columns_.data() + tile * kTile * dim_; }

  template <typename T>
  void put_row(int64_t position, const T* from) {
    A* to = rows_.data() + position * dim_;
    for (int64_t i = 0; i < dim_; ++i) to[i] = simd::load(from[i]);
  }
  template <typename T>
  void put_column(int64_t position, const T* from) {
    A* to = column(position);
    for (int64_t i = 0; i < dim_; ++i) to[i * kTile] = simd::load(from[i]);
  }
  void clear_column(int64_t position) {
    A* to = column(position);
    for (int64_t i = 0; i < dim_; ++i) to[i * kTile] = 0;
  }
  template <typename T>
  void take_column(int64_t position, T* to) {
    const A* from = column(position);
    for (int64_t i = 0; i < dim_; ++i) simd::store(to[i], from[i * kTile]);
  }

 private:
  A* column(int64_t position) { return columns(position / kTile) + position % kTile; }

  int64_t dim_;
  std::vector<A> rows_, columns_;
};

// to [count * group, dim] = factor * the group's heads of tokens first ..., a token's heads
// together.
template <typename T, typename A>
void gather_rows_scaled(const Heads<T>& from, int64_t first, int64_t count, int64_t head,
                        int64_t group, A factor, A* to) {
  for (int64_t t = 0; t < count; ++t) {
    for (int64_t g = 0; g < group; ++g, to += from.dim) {
      const T* row = from.row(first + t, head + g);
      for (int64_t i = 0; i < from.dim; ++i) to[i] = factor * simd::load(row[i]);
    }
  }
}

template <typename T, typename A>
void scatter_row(const A* from, A factor, T* to, int64_t dim) {
  for (int64_t i = 0; i < dim; ++i) simd::store(to[i], from[i] * factor);
}

template <typename T, typename A>
A row_dot(const A* a, const T* b, int64_t dim) {
  A sum = 0;
  for (int64_t i = 0; i < dim; ++i) sum += a[i] * simd::load(b[i]);
  return sum;
}

template <typename A>
void transpose(const A* from, int64_t rows, int64_t columns, A* to) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) to[c * rows + r] = from[r * columns + c];
  }
}

// Which keys of a tile the rows of a block see: row r, of token r / group, those from
// end + r / group - window to before end + r / group, counted from the tile's first key.
struct TileMask {
  int64_t end;
  int64_t group;
  int64_t window;
};

// One tile of the online softmax. scores [rows, kTile] become exp(score - peak), 0 for keys that a
// row does not see. peak and total [rows] and the weighted sums [rows, dim] so far are brought to
// the new peak.
void online_softmax(float* scores, int64_t rows, const TileMask& mask, float* peak, float* total,
                    float* sums, int64_t dim);
void online_softmax(double* scores, int64_t rows, const TileMask& mask, double* peak, double* total,
                    double* sums, int64_t dim);

// scores [rows, kTile] become p = exp(score - lse) and dp becomes p (dp - dot), both 0 for keys
// that a row does not see.
void softmax_gradient(float* scores, float* dp, int64_t rows, const TileMask& mask,
                      const float* lse, const float* dot);
void softmax_gradient(double* scores, double* dp, int64_t rows, const TileMask& mask,
                      const double* lse, const double* dot);

}  // namespace ponder::policy
