#include <cublas_v2.h>
#include <cuda_runtime.h>

#include "policy/cuda/logprobs.h"

namespace ponder::policy {
namespace {

constexpr int kThreads = 256;
constexpr int kCublasError = 10000;

// One block a token: its row of `columns` logits, the vocabulary's from `first_column` on.
__global__ void fold_block(LogprobJob job, int64_t first_column, int64_t columns) {
  __shared__ LogitFold folds[kThreads];
  const int64_t token = blockIdx.x;
  const float* row = job.logits + token * columns;
  const float factor = 1 / job.temperature;
  folds[threadIdx.x] = fold_logits(row, threadIdx.x, kThreads, columns, factor);
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half)
      folds[threadIdx.x] = merge(folds[threadIdx.x], folds[threadIdx.x + half]);
  }
  if (threadIdx.x != 0) return;
  job.folds[token] = first_column == 0 ? folds[0] : merge(job.folds[token], folds[0]);
  const int64_t target = job.targets[token] - first_column;
  if (target >= 0 && target < columns) job.logprobs[token] = row[target] * factor;
}

__global__ void finish(LogprobJob job) {
  const int64_t token = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (token >= job.tokens) return;
  job.logprobs[token] -= log_sum(job.folds[token]);
  job.entropies[token] = entropy(job.folds[token]);
}

// logits [tokens, columns] = hidden weight[first, first + columns)^T; cuBLAS counts by columns.
int make_logits(const LogprobJob& job, int64_t first, int64_t columns, cublasHandle_t handle) {
  const cudaDataType type = job.bfloat16 ? CUDA_R_16BF : CUDA_R_32F;
  const int64_t bytes = job.bfloat16 ? 2 : 4;
  const auto* weight = static_cast<const char*>(job.weight) + first * job.width * bytes;
  const float one = 1, zero = 0;
  return cublasGemmEx(handle, CUBLAS_OP_T, CUBLAS_OP_N, static_cast<int>(columns),
                      static_cast<int>(job.tokens), static_cast<int>(job.width), &one, weight, type,
                      static_cast<int>(job.width), job.hidden, type, static_cast<int>(job.width),
                      &zero, job.logits, CUDA_R_32F, static_cast<int>(columns), CUBLAS_COMPUTE_32F,
                      CUBLAS_GEMM_DEFAULT);
}

}  // namespace

int token_logprobs_cuda(const LogprobJob& job, void* cublas, void* stream) {
  if (job.tokens == 0) return 0;
  const auto handle = static_cast<cublasHandle_t>(cublas);
  const auto queue = static_cast<cudaStream_t>(stream);
  if (const int status = cublasSetStream(handle, queue)) return kCublasError + status;
  for (int64_t first = 0; first < job.vocabulary; first += job.columns) {
    const int64_t left = job.vocabulary - first;
    const int64_t columns = left < job.columns ? left : job.columns;
    if (const int status = make_logits(job, first, columns, handle)) return kCublasError + status;
    fold_block<<<static_cast<unsigned>(job.tokens), kThreads, 0, queue>>>(job, first, columns);
  }
  finish<<<static_cast<unsigned>((job.tokens + kThreads - 1) / kThreads), kThreads, 0, queue>>>(
      job);
  return cudaGetLastError();
}

}  // namespace ponder::policy
