// The large matrix products of training. float32 on an x86 CPU goes through oneDNN's kernels block
// by block (block_gemm.h): more than twice as fast as MKL's sgemm on Zen, nothing compiled for a
// new number of rows (experts get another number of tokens each time), and the same bits with any
// number of threads. Every other dtype or device is LibTorch's own product.
#pragma once

#include <ATen/core/Tensor.h>

namespace ponder::policy {

// a [m, k] times b [k, n] -> [m, n], without graph. Transposed views are taken as they are.
at::Tensor product(const at::Tensor& a, const at::Tensor& b);

// x [..., in] times weight [out, in] transposed, plus bias [out] where it is defined -> [..., out],
// with graph.
at::Tensor linear_map(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

}  // namespace ponder::policy
