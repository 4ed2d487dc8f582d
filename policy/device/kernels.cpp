#include "policy/device/kernels.h"

#include <atomic>

#include "core/error.h"

namespace ponder::policy::device {
namespace {

std::atomic<const CudaPlugin*> installed{nullptr};
std::atomic<at::DeviceType> installed_type{at::kCUDA};

}  // namespace

void install_kernels(at::DeviceType type, const CudaPlugin* kernels) {
  installed_type = type;
  installed = kernels;
}

const CudaPlugin* kernels_for(const at::Tensor& x) {
  if (x.device().type() != installed_type) return nullptr;
  const CudaPlugin* kernels = installed;
  if (kernels != nullptr) kernels->set_device(x.device().index());
  return kernels;
}

void check_launch(int status, const char* kernel) {
  if (status == 0) return;
  core::throw_run("the CUDA kernel {} could not be started: error {}{}", kernel, status,
                  status >= 10000 ? " (cuBLAS's, plus 10000)" : "");
}

}  // namespace ponder::policy::device
