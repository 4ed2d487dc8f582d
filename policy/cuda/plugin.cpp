#include "policy/cuda/plugin.h"

#include <chrono>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <cuda_runtime_api.h>

namespace {

using namespace ponder::policy;

int device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

void make_nccl(const void* store, int rank, int size, int64_t timeout_ms, void* backend) {
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = std::chrono::milliseconds(timeout_ms);
  *static_cast<c10::intrusive_ptr<c10d::Backend>*>(backend) =
      c10::make_intrusive<c10d::ProcessGroupNCCL>(
          *static_cast<const c10::intrusive_ptr<c10d::Store>*>(store), rank, size, options);
}

constexpr CudaPlugin kPlugin = {.device_count = device_count,
                                .quantize_fp8 = quantize_fp8_cuda,
                                .token_logprobs = token_logprobs_cuda,
                                .latent_attention = latent_attention_cuda,
                                .make_nccl = make_nccl};

}  // namespace

const CudaPlugin* ponder_cuda_plugin() {
  return &kPlugin;
}
