// The plugin's kernels as the operations of this folder find them.
#pragma once

#include <ATen/core/Tensor.h>

#include "policy/cuda/plugin.h"

namespace ponder::policy::device {

// From now on tensors on devices of this type have these kernels; null: none again. Called once by
// whoever has opened the plugin, and by tests. `kernels` outlives all use.
void install_kernels(at::DeviceType type, const CudaPlugin* kernels);

// Those for the tensor's device, which becomes the calling thread's; null: there are none,
// LibTorch's own operations do it.
const CudaPlugin* kernels_for(const at::Tensor& x);

// Throws RunError naming the kernel where a launch returned anything but 0.
void check_launch(int status, const char* kernel);

}  // namespace ponder::policy::device
