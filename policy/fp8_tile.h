// FP8 numbers one by one: E4M3 without infinities (OCP 8-bit floating point specification, "E4M3";
// torch.float8_e4m3fn) and the scale of a tile. Plain arithmetic that both the host and CUDA
// kernels compile; knows no tensors.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define PONDER_HOST_DEVICE __host__ __device__
#else
#define PONDER_HOST_DEVICE
#endif

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

}  // namespace ponder::policy
