#include <cuda_runtime.h>

#include "policy/cuda/latent_attention.h"
#include "policy/cuda/latent_body.h"

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

template <typename T>
__device__ LatentView<T> view_of(const LatentJob& job, int64_t query, int64_t head) {
  return {.query = static_cast<const T*>(job.queries) + (query * job.heads + head) * job.width,
          .cache = static_cast<const T*>(job.cache),
          .blocks = job.block_table + job.rows[query] * job.blocks,
          .block_size = job.block_size,
          .width = job.width,
          .value_dim = job.value_dim,
          .length = job.lengths[query],
          .scale = job.scale};
}

// A thread scores one position of a tile and owns every kThreads-th column of the result.
template <typename T>
__global__ void attend(LatentJob job) {
  __shared__ float weights[kThreads], scratch[kThreads];
  const int64_t query = blockIdx.x / job.heads, head = blockIdx.x % job.heads;
  const LatentView<T> view = view_of<T>(job, query, head);
  float sums[kColumnsMax] = {};
  TileSoftmax softmax;
  for (int64_t first = 0; first < view.length; first += kThreads) {
    const int64_t left = view.length - first, count = left < kThreads ? left : kThreads;
    const bool live = threadIdx.x < count;
    const float score = live ? latent_score(view, first + threadIdx.x) : -INFINITY;
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

int latent_attention_cuda(const LatentJob& job, void* stream) {
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
