// Log-probabilities of tokens on a CUDA device without a [tokens, vocabulary] tensor: a block of
// the vocabulary's logits at a time, by cuBLAS, folded away (logit_fold.h) before the next is made.
// Plain pointers, so that nvcc sees no LibTorch. Not differentiable.
#pragma once

#include <cstdint>

#include "policy/cuda/logit_fold.h"

namespace ponder::policy {

// All pointers on the device.
struct LogprobJob {
  const void* hidden = nullptr;      // [tokens, width], bfloat16 where `bfloat16`, else float32
  const void* weight = nullptr;      // [vocabulary, width], the same dtype
  const int64_t* targets = nullptr;  // [tokens]
  float* logprobs = nullptr;         // [tokens] nats
  float* entropies = nullptr;        // [tokens] nats
  float* logits = nullptr;           // work space [tokens, columns]
  LogitFold* folds = nullptr;        // work space [tokens]
  int64_t tokens = 0, width = 0, vocabulary = 0;
  int64_t columns = 2048;  // of the vocabulary at a time
  float temperature = 1;
  bool bfloat16 = false;
};

// Starts the work on `stream` (a cudaStream_t) with `cublas` (a cublasHandle_t) and returns.
// Returns 0 where the launches went well, else a cudaError_t, or a cublasStatus_t plus 10000.
int token_logprobs_cuda(const LogprobJob& job, void* cublas, void* stream);

}  // namespace ponder::policy
