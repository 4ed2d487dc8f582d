#include "policy/cuda/plugin.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <cuda_runtime_api.h>

namespace {

using namespace ponder::policy;

int device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

const char* why_no_device() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  return cudaGetErrorString(error);
}

void set_device(int index) {
  c10::cuda::set_device(static_cast<c10::DeviceIndex>(index));
}

void device_uuid(int index, char* text) {
  const cudaDeviceProp* properties = at::cuda::getDeviceProperties(index);
  for (int i = 0; i < 16; ++i)
    std::snprintf(text + 2 * i, 3, "%02x", static_cast<unsigned char>(properties->uuid.bytes[i]));
}

void* current_stream() {
  return at::cuda::getCurrentCUDAStream().stream();
}

void* cublas() {
  return at::cuda::getCurrentCUDABlasHandle();
}

// On a stream of its own, as CUDA wants it; the warm-up lets libraries allocate what they keep.
void* capture(void (*body)(void*), void* argument) {
  auto graph = std::make_unique<at::cuda::CUDAGraph>();
  const at::cuda::CUDAStream side = at::cuda::getStreamFromPool();
  at::cuda::getCurrentCUDAStream().synchronize();
  {
    const c10::cuda::CUDAStreamGuard guard(side);
    body(argument);
    side.synchronize();
    // Other threads may go on with what a capture forbids: a sampler beside the trainer.
    graph->capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
    body(argument);
    graph->capture_end();
  }
  return graph.release();
}

void replay(void* graph) {
  static_cast<at::cuda::CUDAGraph*>(graph)->replay();
}

void drop_graph(void* graph) {
  delete static_cast<at::cuda::CUDAGraph*>(graph);
}

// A wait ends by its deadline with an exception, as Gloo's does, and no watchdog ends the process:
// the group then says which worker is missing.
void make_nccl(const void* store, int rank, int size, int64_t timeout_ms, void* backend) {
  ::setenv("TORCH_NCCL_BLOCKING_WAIT", "1", /*overwrite=*/0);
  ::setenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0", /*overwrite=*/0);
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = std::chrono::milliseconds(timeout_ms);
  *static_cast<c10::intrusive_ptr<c10d::Backend>*>(backend) =
      c10::make_intrusive<c10d::ProcessGroupNCCL>(
          *static_cast<const c10::intrusive_ptr<c10d::Store>*>(store), rank, size, options);
}

constexpr CudaPlugin kPlugin = {.device_count = device_count,
                                .why_no_device = why_no_device,
                                .set_device = set_device,
                                .device_uuid = device_uuid,
                                .current_stream = current_stream,
                                .cublas = cublas,
                                .quantize_fp8 = quantize_fp8_cuda,
                                .fp8_gemm = fp8_gemm_cuda,
                                .token_logprobs = token_logprobs_cuda,
                                .paged_attention = paged_attention_cuda,
                                .capture = capture,
                                .replay = replay,
                                .drop_graph = drop_graph,
                                .make_nccl = make_nccl};

}  // namespace

const CudaPlugin* ponder_cuda_plugin() {
  return &kPlugin;
}
