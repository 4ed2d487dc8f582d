// FP8 numbers one by one: E4M3 without infinities (OCP 8-bit floating point specification, "E4M3";
// torch.float8_e4m3fn) and the scale of a tile. Plain arithmetic that both the host and CUDA
// kernels compile; knows no tensors.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "policy/host_device.h"

namespace ponder::policy {

constexpr float kE4m3Max = 448.0f;

PONDER_HOST_DEVICE inline uint32_t float_bits(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// Nearest, ties to even; beyond +-448 saturates; NaN stays NaN.
PONDER_HOST_DEVICE inline uint8_t to_e4m3(float value) {
  const uint32_t bits = float_bits(value);
  const auto sign = static_cast<uint8_t>(bits >> 24 & 0x80);
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return sign | 0x7F;
  const float size = fabsf(value);
  if (size >= kE4m3Max) return sign | 0x7E;
  // Below 2^-6 the steps are 2^-9; eight of them are the smallest normal number.
  if (size < 0.015625f) return sign | static_cast<uint8_t>(rintf(size * 512.0f));
  const uint32_t rounded = magnitude + 0x7FFFF + (magnitude >> 20 & 1);
  return sign | static_cast<uint8_t>((rounded >> 20) - (120u << 3));
}

PONDER_HOST_DEVICE inline float from_e4m3(uint8_t code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  float size = exponent == 0 ? ldexpf(static_cast<float>(mantissa), -9)
                             : ldexpf(static_cast<float>(mantissa + 8), exponent - 10);
  if ((code & 0x7F) == 0x7F) size = NAN;
  return (code & 0x80) != 0 ? -size : size;
}

// What the values of a tile are divided by, so that the greatest becomes 448. A tile of zeros gets
// 1. `power_of_two` takes the next power of two above, which loses no bits when tiles change shape.
PONDER_HOST_DEVICE inline float tile_scale(float greatest, bool power_of_two) {
  if (!(greatest > 0)) return 1.0f;
  const float scale = greatest / kE4m3Max;
  if (!power_of_two) return scale > 0 ? scale : 1.0f;
  int exponent = 0;
  const float part = frexpf(scale, &exponent);  // scale = part * 2^exponent, part in [0.5, 1)
  return ldexpf(1.0f, part == 0.5f ? exponent - 1 : exponent);
}

// A rectangle of a row-major matrix: one tile.
struct TileView {
  int64_t row_begin = 0, row_end = 0;
  int64_t col_begin = 0, col_end = 0;
  int64_t stride = 0;  // between rows
};

// The part of a tile that one of several threads does; the default is all of it.
struct TileShare {
  int64_t row_first = 0, row_step = 1;
  int64_t col_first = 0, col_step = 1;
};

// The greatest magnitude in this share; NaN does not count.
PONDER_HOST_DEVICE inline float greatest_in_tile(const float* x, TileView tile,
                                                 TileShare share = TileShare{}) {
  float greatest = 0;
  for (int64_t r = tile.row_begin + share.row_first; r < tile.row_end; r += share.row_step) {
    for (int64_t c = tile.col_begin + share.col_first; c < tile.col_end; c += share.col_step) {
      const float size = fabsf(x[r * tile.stride + c]);
      if (size > greatest) greatest = size;
    }
  }
  return greatest;
}

// Writes the codes of this share at the values' own places.
PONDER_HOST_DEVICE inline void encode_tile(const float* x, uint8_t* codes, float scale,
                                           TileView tile, TileShare share = TileShare{}) {
  for (int64_t r = tile.row_begin + share.row_first; r < tile.row_end; r += share.row_step) {
    for (int64_t c = tile.col_begin + share.col_first; c < tile.col_end; c += share.col_step)
      codes[r * tile.stride + c] = to_e4m3(x[r * tile.stride + c] / scale);
  }
}

// Tile number `index` of a matrix [rows, cols], counted along rows of tiles.
PONDER_HOST_DEVICE inline TileView tile_at(int64_t index, int64_t rows, int64_t cols,
                                           int64_t tile_rows, int64_t tile_cols) {
  const int64_t across = (cols + tile_cols - 1) / tile_cols;
  const int64_t row = index / across * tile_rows, col = index % across * tile_cols;
  return {row, row + tile_rows < rows ? row + tile_rows : rows, col,
          col + tile_cols < cols ? col + tile_cols : cols, cols};
}

}  // namespace ponder::policy
