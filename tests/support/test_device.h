// The device of tests that run on a GPU (tests/gpu) and, without one, on the stand-in of
// far_device.h.
#pragma once

#include <ATen/core/Tensor.h>

namespace ponder::test {

at::Device a_device();

}  // namespace ponder::test
