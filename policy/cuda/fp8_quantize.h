// FP8 quantisation on a CUDA device: the arithmetic of policy/fp8_tile.h, a block of threads a
// tile. Built in the preset `cuda` alone; plain pointers, so that nvcc sees no LibTorch.
#pragma once

#include <cstdint>

namespace ponder::policy {

struct Fp8Job {
  const float* x = nullptr;  // [rows, cols], on the device
  uint8_t* codes = nullptr;  // [rows, cols] E4M3
  float* scales = nullptr;   // [ceil(rows / tile_rows), ceil(cols / tile_cols)]
  int64_t rows = 0, cols = 0;
  int64_t tile_rows = 1, tile_cols = 128;
  bool power_of_two = false;
};

// Starts the work on `stream` (a cudaStream_t) and returns. Returns the launch's cudaError_t, 0
// where it went well.
int quantize_fp8_cuda(const Fp8Job& job, void* stream);

}  // namespace ponder::policy
