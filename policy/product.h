// The large matrix products of training. On an x86 CPU float32, and bfloat16 where the processor
// multiplies it, go through oneDNN's kernels block by block (block_gemm.h): nothing is compiled for a
// new number of rows (experts get another number of tokens each time), the bits are the same with
// any number of threads, and float32 is more than twice as fast as MKL's sgemm on Zen. Every other
// dtype or device is LibTorch's own product.
#pragma once

#include <ATen/core/Tensor.h>

namespace ponder::policy {

// a [m, k] times b [k, n] -> [m, n], without graph. Transposed views are taken as they are.
at::Tensor product(const at::Tensor& a, const at::Tensor& b);

// x [..., in] times weight [out, in] transposed, plus bias [out] where it is defined -> [..., out],
// with graph.
at::Tensor linear_map(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

}  // namespace ponder::policy
