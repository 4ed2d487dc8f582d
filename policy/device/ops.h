// The models' operations for tensors that are not on the CPU, made of LibTorch's own and therefore
// the same on every device: what policy/ops.h, attention.h, paged_attention.h, fp8.h and
// master_weights.h call there, with their contracts. On CUDA the kernels of the plugin
// (policy/cuda) take part. Tests run them on the CPU beside the CPU's kernels.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "policy/attention.h"
#include "policy/fp8.h"
#include "policy/master_weights.h"
#include "policy/moe.h"
#include "policy/ops.h"
#include "policy/paged_attention.h"
#include "policy/rope.h"

namespace ponder::policy::device {

// `x` on `device`. From the CPU to a GPU through pinned memory and without waiting: what is
// started on the device afterwards finds it there. x itself where it is there already.
at::Tensor moved(const at::Tensor& x, at::Device device);

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                  bool interleave);
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

// frequencies float32 [dim / 2], on the positions' device.
Rotary rotary_tables(const at::Tensor& positions, const at::Tensor& frequencies, double scale);

// A segment's queries against the keys of its ancestors and its own by LibTorch's
// scaled_dot_product_attention, segment by segment.
at::Tensor packed_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const Segments& segments, double scale, int64_t window);

// What one query head reads of the cache's rows of `stride` features: of key head h * kv_heads /
// heads the features from key_step times that on, and as values those from value_begin plus
// value_step times that on.
struct CacheView {
  int64_t kv_heads = 1, key_step = 0;
  int64_t value_begin = 0, value_step = 0, value_dim = 0;
  int64_t window = 0;  // positions, the query's own included; 0: all
};
// Takes shapes from shapes alone: it may stand in a CUDA graph. [queries, heads, value_dim] in the
// queries' dtype.
at::Tensor paged_attention(const at::Tensor& queries, const at::Tensor& cache,
                           const PagedContext& context, const CacheView& view, double scale);

// Results on the device of `targets`.
TokenLogprobs token_logprobs(const at::Tensor& hidden, const at::Tensor& weight,
                             const at::Tensor& targets, double temperature, const KeptTokens& kept);

void master_adamw_(const at::Tensor& parameter, const MasterState& state, const at::Tensor& grad,
                   const AdamStep& step);
at::Tensor master_weights(const at::Tensor& parameter, const at::Tensor& low);

Fp8Matrix quantize_fp8(const at::Tensor& x, Fp8Tile tile, Fp8Scale scale);
at::Tensor dequantize_fp8(const Fp8Matrix& matrix, at::ScalarType dtype);
// a [m, k] times b [n, k] transposed, float32 [m, n]; each in tiles of 1 x 128 or blocks of 128 x
// 128. On a GPU of compute capability 9.0 by cuBLASLt's product of FP8 tiles, elsewhere of the
// dequantised values.
at::Tensor fp8_product(const Fp8Matrix& a, const Fp8Matrix& b);

}  // namespace ponder::policy::device
