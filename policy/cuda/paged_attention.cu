#include "policy/cuda/paged_attention.h"

#include <cuda_runtime.h>

#include "policy/cuda/paged_body.h"

namespace ponder::policy {
namespace {

constexpr int kThreads = 128;   // and positions in a tile
constexpr int kColumnsMax = 8;  // of the result a thread

__device__ float greatest_of_block(float value, float* scratch) {
  scratch[threadIdx.x] = value;
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half)
      scratch[threadIdx.x] = fmaxf(scratch[threadIdx.x], scratch[threadIdx.x + half]);
  }
  __syncthreads();
  return scratch[0];
}

// A thread scores one position of a tile and owns every kThreads-th column of the result.
template <typename T>
__global__ void attend(PagedJob job) {
  __shared__ float weights[kThreads], scratch[kThreads];
  const HeadOfQuery<T> view =
      head_of_query<T>(job, blockIdx.x / job.heads, blockIdx.x % job.heads);
  float sums[kColumnsMax] = {};
  TileSoftmax softmax;
  for (int64_t first = view.first; first < view.length; first += kThreads) {
    const int64_t left = view.length - first, count = left < kThreads ? left : kThreads;
    const bool live = threadIdx.x < count;
    const float score = live ? key_score(view, first + threadIdx.x) : -INFINITY;
    const float factor = raise_peak(softmax, greatest_of_block(score, scratch));
    weights[threadIdx.x] = live ? expf(score - softmax.peak) : 0;
    __syncthreads();
    for (int64_t i = 0; i < count; ++i) softmax.total += weights[i];
    for (int c = 0; c < kColumnsMax; ++c) {
      const int64_t column = threadIdx.x + c * kThreads;
      if (column < view.value_dim)
        sums[c] = sums[c] * factor + weighted_values(view, first, count, weights, column);
    }
    __syncthreads();  // before the next tile's weights
  }
  float* out = job.out + blockIdx.x * job.value_dim;
  for (int c = 0; c < kColumnsMax; ++c) {
    const int64_t column = threadIdx.x + c * kThreads;
    if (column < view.value_dim) out[column] = sums[c] / softmax.total;
  }
}

}  // namespace

int paged_attention_cuda(const PagedJob& job, void* stream) {
  const auto grid = static_cast<unsigned>(job.num_queries * job.heads);
  if (grid == 0) return 0;
  const auto queue = static_cast<cudaStream_t>(stream);
  if (job.bfloat16)
    attend<Bfloat16Bits><<<grid, kThreads, 0, queue>>>(job);
  else
    attend<float><<<grid, kThreads, 0, queue>>>(job);
  return cudaGetLastError();
}

}  // namespace ponder::policy
