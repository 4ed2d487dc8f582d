// Plugins that are not as they should be, for open_plugin_test.cpp: PONDER_TEST_ABI is the version
// that this one claims, and it has no GPU.
#include "policy/cuda/plugin.h"

namespace {

constexpr ponder::policy::CudaPlugin kPlugin = {
    .abi = PONDER_TEST_ABI,
    .device_count = [] { return 0; },
    .why_no_device = [] { return "the driver is away"; }};

}  // namespace

const ponder::policy::CudaPlugin* ponder_cuda_plugin() {
  return &kPlugin;
}
