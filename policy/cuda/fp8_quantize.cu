#include <cuda_runtime.h>

#include "policy/cuda/fp8_quantize.h"
#include "policy/fp8_tile.h"

namespace ponder::policy {
namespace {

constexpr int kThreads = 128;

// Each thread does one column of a wide tile, or every kThreads-th row of a tile of one column.
__device__ TileShare share_of_thread(int64_t tile_cols) {
  TileShare share;
  if (tile_cols == 1) {
    share.row_first = threadIdx.x;
    share.row_step = kThreads;
  } else {
    share.col_first = threadIdx.x;
    share.col_step = kThreads;
  }
  return share;
}

__global__ void quantize_tiles(Fp8Job job) {
  __shared__ float greatest[kThreads];
  const TileView tile = tile_at(blockIdx.x, job.rows, job.cols, job.tile_rows, job.tile_cols);
  const TileShare share = share_of_thread(job.tile_cols);
  greatest[threadIdx.x] = greatest_in_tile(job.x, tile, share);
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half)
      greatest[threadIdx.x] = fmaxf(greatest[threadIdx.x], greatest[threadIdx.x + half]);
  }
  __syncthreads();
  const float scale = tile_scale(greatest[0], job.power_of_two);
  if (threadIdx.x == 0) job.scales[blockIdx.x] = scale;
  encode_tile(job.x, job.codes, scale, tile, share);
}

}  // namespace

int quantize_fp8_cuda(const Fp8Job& job, void* stream) {
  const int64_t tiles = ((job.rows + job.tile_rows - 1) / job.tile_rows) *
                        ((job.cols + job.tile_cols - 1) / job.tile_cols);
  if (tiles == 0) return 0;
  quantize_tiles<<<static_cast<unsigned>(tiles), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      job);
  return cudaGetLastError();
}

}  // namespace ponder::policy
