// The product of two FP8 matrices with scales a tile, as DeepSeek-V3 multiplies (arXiv:2412.19437
// §3.3), by cuBLASLt 13: 128 values along the summed dimension, or blocks of 128 x 128, share a
// float32 scale. Needs a GPU of compute capability 9.0. Plain pointers, no LibTorch.
#pragma once

#include <cstdint>

namespace ponder::policy {

// How the scales of an operand [rows, depth] lie in memory.
enum class Fp8ScaleLayout {
  kRows,    // one for 128 values of a row: [ceil(depth / 128), rows]
  kBlocks,  // one for a block of 128 x 128: [ceil(rows / 128), ceil(depth / 128) rounded up to 4]
};

// All pointers on the device, on borders of 16 bytes. REQUIRES: depth and both rows are multiples
// of 16; not both operands have kBlocks.
struct Fp8GemmJob {
  const uint8_t* a = nullptr;  // [a_rows, depth] E4M3
  const uint8_t* b = nullptr;  // [b_rows, depth] E4M3
  const float* a_scales = nullptr;
  const float* b_scales = nullptr;
  Fp8ScaleLayout a_layout = Fp8ScaleLayout::kRows, b_layout = Fp8ScaleLayout::kBlocks;
  float* out = nullptr;  // [a_rows, b_rows]: a times b transposed
  void* workspace = nullptr;
  int64_t workspace_bytes = 0;
  int64_t a_rows = 0, b_rows = 0, depth = 0;
};

// Starts the work on `stream` (a cudaStream_t) and returns. Returns 0 where it went well, else a
// cublasStatus_t plus 10000; 10015 (not supported) on an older GPU.
int fp8_gemm_cuda(const Fp8GemmJob& job, void* stream);

}  // namespace ponder::policy
