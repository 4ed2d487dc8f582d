// A stand-in for a GPU in tests: a LibTorch device (PrivateUse1) whose operations are the CPU's,
// but whose memory nobody else can reach: a tensor's address is one that faults. So whatever reads
// or writes a device's tensor on the host, or mixes tensors of two devices in one operation, fails
// here as it would on a GPU. It knows nothing of streams: what it cannot show is an order that only
// waiting would make right.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace ponder::test {

inline const at::Device kFar{at::kPrivateUse1, 0};

// The memory behind a far tensor's first value, for kernels that stand in for a GPU's.
void* near_pointer(const void* far);

// While it lives, everything that a CUDA graph's capture forbids throws: values and copies that
// travel between host and device, and operations whose shapes come from values.
class CaptureRules {
 public:
  CaptureRules();
  ~CaptureRules();
  CaptureRules(const CaptureRules&) = delete;
  CaptureRules& operator=(const CaptureRules&) = delete;
};

}  // namespace ponder::test
