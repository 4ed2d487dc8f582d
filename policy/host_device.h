// Bodies that both the host and CUDA kernels compile: plain arithmetic on plain pointers.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define PONDER_HOST_DEVICE __host__ __device__
#else
#define PONDER_HOST_DEVICE
#endif

namespace ponder::policy {

// A bfloat16 as it lies in memory.
struct Bfloat16Bits {
  uint16_t bits;
};

PONDER_HOST_DEVICE inline float load_value(float value) {
  return value;
}
PONDER_HOST_DEVICE inline float load_value(Bfloat16Bits value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float out = 0;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}

}  // namespace ponder::policy
