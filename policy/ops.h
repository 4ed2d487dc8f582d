// The few differentiable operations that the models need beside LibTorch's own, each with a
// hand-written backward: fewer passes over memory than a chain of elementwise operations, and no
// intermediate of size [tokens, vocabulary]. All take contiguous tensors of float32, float64 or
// bfloat16; sums are in float32 (float64 for float64). Tensors on another device than the CPU go
// through policy/device/ops.h.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ponder::policy {

// y = x / sqrt(mean(x^2) + eps) * weight over the last dimension. x [..., hidden], weight [hidden].
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

// Rotates x [tokens, heads, dim] by its token's angles: neighbours (2i, 2i+1) are a pair where
// `interleave`, else (i, i + dim / 2). The result keeps x's layout.
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                  bool interleave);

// x [rows, dim] -> [order.size, dim], row i of the result is row order[i] / copies of x. `inverse`
// is the inverse permutation of `order`; both int64 [rows * copies]. Backward gathers too: no
// scattered adds.
at::Tensor spread_rows(const at::Tensor& x, const at::Tensor& order, const at::Tensor& inverse,
                       int64_t copies);

// The way back: y [rows * copies, dim] in the spread order, weights [rows, copies] -> [rows, dim],
// sum over c of weights[r, c] * y[inverse[r * copies + c]].
at::Tensor gather_rows(const at::Tensor& y, const at::Tensor& weights, const at::Tensor& order,
                       const at::Tensor& inverse);

// silu(gate) * up, elementwise.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

// linear(swiglu(gate, up), weight) that keeps gate and up alone for backward, which multiplies them
// again. weight [out, in].
at::Tensor swiglu_linear(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& weight);

// Log-probability (nats) of each target and the entropy of its distribution, without a [tokens,
// vocabulary] tensor: the logits are made, used and dropped block by block (token_logprobs.cpp),
// and made again in backward.
struct TokenLogprobs {
  at::Tensor logprobs;   // [tokens] float32, with graph
  at::Tensor entropies;  // [tokens] float32, with graph
};

// The tokens of the vocabulary that count at each position: ids int32 [kept], position after
// position, ascending in each; counts int64 [tokens], 0: all of them. Undefined: all everywhere.
struct KeptTokens {
  at::Tensor ids, counts;
};

// hidden [tokens, hidden], output weight [vocabulary, hidden], targets int64 [tokens]; logits are
// divided by `temperature` (> 0) first. With `kept` the distribution is the softmax over a
// position's kept tokens alone. The results are where `targets` is: tokens and their log-probs stay
// on the CPU, whatever the model's device. REQUIRES: a target is among them.
TokenLogprobs token_logprobs(const at::Tensor& hidden, const at::Tensor& weight,
                             const at::Tensor& targets, double temperature,
                             const KeptTokens& kept = {});

}  // namespace ponder::policy
