// The elementwise and row-wise loops behind ops.h and token_logprobs.cpp, on plain memory, one
// thread. Each exists for float, double and bfloat16 with sums in Accumulator<T>.
#pragma once

#include <cstdint>

#include "policy/simd.h"

namespace ponder::policy::kernels {

// y = x s w with s = 1 / sqrt(mean(x^2) + eps), rows [begin, end) of `dim` features; keeps s
// [rows].
template <typename T>
void rms_norm(const T* x, const T* w, T* y, simd::Accumulator<T>* scales, int64_t begin,
              int64_t end, int64_t dim, double eps);

// With n = x s: dx = s (w g - n mean(w g n)); dw [dim] += g n over the rows [begin, end).
template <typename T>
void rms_norm_backward(const T* x, const T* w, const T* g, const simd::Accumulator<T>* scales,
                       T* dx, simd::Accumulator<T>* dw, int64_t begin, int64_t end, int64_t dim);

// Tokens [begin, end) of x [tokens, heads, dim] turned by (cos, direction * sin) [tokens, dim / 2].
struct Rotation {
  const float* cos;
  const float* sin;
  float direction;
  bool interleave;
};
template <typename T>
void rotate(const T* x, T* y, const Rotation& rotation, int64_t begin, int64_t end, int64_t heads,
            int64_t dim);

// y = silu(gate) up, and its gradients for g = dy.
template <typename T>
void swiglu(const T* gate, const T* up, T* y, int64_t begin, int64_t end);
template <typename T>
void swiglu_backward(const T* gate, const T* up, const T* g, T* dgate, T* dup, int64_t begin,
                     int64_t end);

// What is known of a row of logits x (over temperature) after some of its columns: the highest, and
// sums of e^(x - peak) and of e^(x - peak) (x - peak).
template <typename A>
struct LogitsState {
  A peak, total, weighted;
};

// Adds `columns` logits, each times `factor`, to a row's state.
template <typename T>
void add_logits(const T* logits, int64_t columns, simd::Accumulator<T> factor,
                LogitsState<simd::Accumulator<T>>& state);

// Logits become their gradients: with p = e^(x - lse), d = -p (g_logprob + g_entropy (x - lse +
// entropy)) factor; the target's own column gets g_logprob factor more. target < 0 or >= columns:
// not among these columns.
template <typename A>
struct LogitsGradient {
  A lse, entropy, g_logprob, g_entropy;
};
template <typename T>
void logits_backward(T* logits, int64_t columns, simd::Accumulator<T> factor, int64_t target,
                     const LogitsGradient<simd::Accumulator<T>>& row);

}  // namespace ponder::policy::kernels
