// What libponder_cuda.so offers. The program is linked to LibTorch's CPU library alone and opens
// the plugin where a GPU is asked for (open_plugin.h).
#pragma once

#include <cstdint>

#include "policy/cuda/fp8_quantize.h"
#include "policy/cuda/latent_attention.h"
#include "policy/cuda/logprobs.h"

namespace ponder::policy {

constexpr int32_t kCudaPluginAbi = 1;  // grows with every change of this struct or of the jobs

struct CudaPlugin {
  int32_t abi = kCudaPluginAbi;
  int (*device_count)() = nullptr;  // 0 where there is no GPU or no driver
  int (*quantize_fp8)(const Fp8Job&, void* stream) = nullptr;
  int (*token_logprobs)(const LogprobJob&, void* cublas, void* stream) = nullptr;
  int (*latent_attention)(const LatentJob&, void* stream) = nullptr;
  // c10d's process group over NCCL. `store` points to a c10::intrusive_ptr<c10d::Store>, `backend`
  // to the c10::intrusive_ptr<c10d::Backend> that is set. Throws c10::Error.
  void (*make_nccl)(const void* store, int rank, int size, int64_t timeout_ms,
                    void* backend) = nullptr;
};

}  // namespace ponder::policy

// The plugin's one symbol.
extern "C" const ponder::policy::CudaPlugin* ponder_cuda_plugin();
