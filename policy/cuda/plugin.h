// What libponder_cuda.so offers. The program is linked to LibTorch's CPU library alone and opens
// the plugin where a GPU is asked for (open_plugin.h).
#pragma once

#include <cstdint>

#include "policy/cuda/fp8_gemm.h"
#include "policy/cuda/fp8_quantize.h"
#include "policy/cuda/logprobs.h"
#include "policy/cuda/paged_attention.h"

namespace ponder::policy {

constexpr int32_t kCudaPluginAbi = 2;  // grows with every change of this struct or of the jobs

struct CudaPlugin {
  int32_t abi = kCudaPluginAbi;
  int (*device_count)() = nullptr;  // 0 where there is no GPU or no driver
  // What CUDA says where there is none.
  const char* (*why_no_device)() = nullptr;
  // Makes this device the calling thread's. Throws c10::Error.
  void (*set_device)(int index) = nullptr;
  // Writes the device's UUID as hexadecimal digits with an end of string: 33 bytes.
  void (*device_uuid)(int index, char* text) = nullptr;

  // LibTorch's current stream (a cudaStream_t) and handle of cuBLAS (a cublasHandle_t) for the
  // calling thread's device.
  void* (*current_stream)() = nullptr;
  void* (*cublas)() = nullptr;

  int (*quantize_fp8)(const Fp8Job&, void* stream) = nullptr;
  int (*fp8_gemm)(const Fp8GemmJob&, void* stream) = nullptr;
  int (*token_logprobs)(const LogprobJob&, void* cublas, void* stream) = nullptr;
  int (*paged_attention)(const PagedJob&, void* stream) = nullptr;

  // Runs body(argument) once to warm up and once more into a CUDA graph, which is returned; each
  // replay() does the same work on the same memory. Throws c10::Error.
  void* (*capture)(void (*body)(void*), void* argument) = nullptr;
  void (*replay)(void* graph) = nullptr;
  void (*drop_graph)(void* graph) = nullptr;

  // c10d's process group over NCCL. `store` points to a c10::intrusive_ptr<c10d::Store>, `backend`
  // to the c10::intrusive_ptr<c10d::Backend> that is set. Throws c10::Error.
  void (*make_nccl)(const void* store, int rank, int size, int64_t timeout_ms,
                    void* backend) = nullptr;
};

}  // namespace ponder::policy

// The plugin's one symbol.
extern "C" const ponder::policy::CudaPlugin* ponder_cuda_plugin();
