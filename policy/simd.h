// What our inner loops need to be fast on any x86-64: functions compiled once for each level of the
// instruction set (AVX-512, AVX2, baseline) and chosen when the program starts, and elementwise
// helpers that a compiler can vectorise. Levels round differently in the last bits (fused
// multiply-add), as documented for kinds of CPUs.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <c10/util/BFloat16.h>

// Not under ThreadSanitizer: the choice is made before its runtime is there.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
#define PONDER_SIMD __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define PONDER_SIMD
#endif
#define PONDER_INLINE inline __attribute__((always_inline))

namespace ponder::policy::simd {

// Sums run in float32, but in float64 for float64 (the numeric-gradient tests).
template <typename T>
using Accumulator = std::conditional_t<std::is_same_v<T, double>, double, float>;

PONDER_INLINE float load(float x) {
  return x;
}
PONDER_INLINE double load(double x) {
  return x;
}
PONDER_INLINE float load(c10::BFloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.x) << 16;
  float out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}

PONDER_INLINE void store(float& to, float x) {
  to = x;
}
PONDER_INLINE void store(double& to, double x) {
  to = x;
}
// Round to nearest, ties to even; NaN stays NaN.
PONDER_INLINE void store(c10::BFloat16& to, float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
  to.x = static_cast<uint16_t>((bits & 0x7FFFFFFFU) > 0x7F800000U ? 0x7FC0U : rounded);
}

// e^x. float32: within 2 units in the last place; 0 below -87.3, e^88.3 above 88.3; NaN stays NaN.
// Argument reduction to |r| <= ln 2 / 2 and a Taylor polynomial of degree 7.
PONDER_INLINE float exp(float x) {
  const float clamped = x > 88.3F ? 88.3F : (x < -87.3F ? -87.3F : x);
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = clamped * 1.44269504088896341F + kRound;
  const float n = shifted - kRound;
  const float r = (clamped - n * 0.693145751953125F) - n * 1.42860682030941723e-6F;
  float p = 1.0F / 5040;
  p = p * r + 1.0F / 720;
  p = p * r + 1.0F / 120;
  p = p * r + 1.0F / 24;
  p = p * r + 1.0F / 6;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  int32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  // The low bits of `shifted` are n; 2^n has them as its exponent.
  const int32_t power = (bits + 127) << 23;
  float scale;
  std::memcpy(&scale, &power, sizeof scale);
  return x < -87.3F ? 0.0F : p * scale;
}
PONDER_INLINE double exp(double x) {
  return std::exp(x);
}

}  // namespace ponder::policy::simd
