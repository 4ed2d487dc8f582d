#include "policy/row_kernels.h"

namespace ponder::policy::kernels {

using simd::Accumulator;
using simd::load;
using simd::store;

template <typename T>
PONDER_SIMD void rms_norm(const T* x, const T* w, T* y, Accumulator<T>* scales, int64_t begin,
                          int64_t end, int64_t dim, double eps) {
  using A = Accumulator<T>;
  for (int64_t r = begin; r < end; ++r) {
    const T* row = x + r * dim;
    T* out = y + r * dim;
    A sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < dim; ++i) sum += load(row[i]) * load(row[i]);
    const A s = A(1) / std::sqrt(sum / A(dim) + A(eps));
    scales[r] = s;
#pragma omp simd
    for (int64_t i = 0; i < dim; ++i) store(out[i], load(row[i]) * s * load(w[i]));
  }
}

template <typename T>
PONDER_SIMD void rms_norm_backward(const T* x, const T* w, const T* g, const Accumulator<T>* scales,
                                   T* dx, Accumulator<T>* dw, int64_t begin, int64_t end,
                                   int64_t dim) {
  using A = Accumulator<T>;
  for (int64_t r = begin; r < end; ++r) {
    const T *row = x + r * dim, *grad = g + r * dim;
    T* out = dx + r * dim;
    const A s = scales[r];
    A dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < dim; ++i) dot += load(grad[i]) * load(w[i]) * load(row[i]);
    const A mean = dot * s * s / A(dim);
#pragma omp simd
    for (int64_t i = 0; i < dim; ++i) {
      store(out[i], s * (load(grad[i]) * load(w[i]) - load(row[i]) * mean));
      dw[i] += load(grad[i]) * load(row[i]) * s;
    }
  }
}

template <typename T>
PONDER_SIMD void rotate(const T* x, T* y, const Rotation& rotation, int64_t begin, int64_t end,
                        int64_t heads, int64_t dim) {
  using A = Accumulator<T>;
  const int64_t half = dim / 2;
  const float direction = rotation.direction;
  for (int64_t token = begin; token < end; ++token) {
    const float *c = rotation.cos + token * half, *s = rotation.sin + token * half;
    for (int64_t row = token * heads; row < (token + 1) * heads; ++row) {
      const T* in = x + row * dim;
      T* out = y + row * dim;
      if (rotation.interleave) {
#pragma omp simd
        for (int64_t i = 0; i < half; ++i) {
          const A a = load(in[2 * i]), b = load(in[2 * i + 1]), sine = direction * s[i];
          store(out[2 * i], a * A(c[i]) - b * sine);
          store(out[2 * i + 1], b * A(c[i]) + a * sine);
        }
      } else {
#pragma omp simd
        for (int64_t i = 0; i < half; ++i) {
          const A a = load(in[i]), b = load(in[i + half]), sine = direction * s[i];
          store(out[i], a * A(c[i]) - b * sine);
          store(out[i + half], b * A(c[i]) + a * sine);
        }
      }
    }
  }
}

template <typename T>
PONDER_SIMD void swiglu(const T* gate, const T* up, T* y, int64_t begin, int64_t end) {
  using A = Accumulator<T>;
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) {
    const A a = load(gate[i]);
    store(y[i], a / (A(1) + simd::exp(-a)) * load(up[i]));
  }
}

template <typename T>
PONDER_SIMD void swiglu_backward(const T* gate, const T* up, const T* g, T* dgate, T* dup,
                                 int64_t begin, int64_t end) {
  using A = Accumulator<T>;
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) {
    const A a = load(gate[i]), d = load(g[i]);
    const A sigmoid = A(1) / (A(1) + simd::exp(-a));
    store(dup[i], d * a * sigmoid);
    store(dgate[i], d * load(up[i]) * sigmoid * (A(1) + a * (A(1) - sigmoid)));
  }
}

template <typename T>
PONDER_SIMD void add_logits(const T* logits, int64_t columns, Accumulator<T> factor,
                            LogitsState<Accumulator<T>>& state) {
  using A = Accumulator<T>;
  A peak = state.peak;
#pragma omp simd reduction(max : peak)
  for (int64_t i = 0; i < columns; ++i) {
    const A x = load(logits[i]) * factor;
    peak = x > peak ? x : peak;
  }
  A total = 0, weighted = 0;
#pragma omp simd reduction(+ : total, weighted)
  for (int64_t i = 0; i < columns; ++i) {
    const A x = load(logits[i]) * factor - peak, e = simd::exp(x);
    total += e;
    weighted += e * x;
  }
  if (state.total > 0) {
    const A shift = state.peak - peak, fade = simd::exp(shift);
    total += fade * state.total;
    weighted += fade * (state.weighted + state.total * shift);
  }
  state = {peak, total, weighted};
}

template <typename T>
PONDER_SIMD void logits_backward(T* logits, int64_t columns, Accumulator<T> factor, int64_t target,
                                 const LogitsGradient<Accumulator<T>>& row) {
  using A = Accumulator<T>;
  const bool here = target >= 0 && target < columns;
  const A target_logit = here ? load(logits[target]) * factor : A(0);
  const A lse = row.lse, entropy = row.entropy, gl = row.g_logprob, gh = row.g_entropy;
#pragma omp simd
  for (int64_t i = 0; i < columns; ++i) {
    const A logp = load(logits[i]) * factor - lse;
    store(logits[i], -simd::exp(logp) * (gl + gh * (logp + entropy)) * factor);
  }
  if (!here) return;
  const A logp = target_logit - lse;
  store(logits[target], (gl - simd::exp(logp) * (gl + gh * (logp + entropy))) * factor);
}

// The instances, each compiled for every level of the instruction set.
#define PONDER_INSTANCES(T)                                                                  \
  template void rms_norm(const T*, const T*, T*, Accumulator<T>*, int64_t, int64_t, int64_t, \
                         double);                                                            \
  template void rms_norm_backward(const T*, const T*, const T*, const Accumulator<T>*, T*,   \
                                  Accumulator<T>*, int64_t, int64_t, int64_t);               \
  template void rotate(const T*, T*, const Rotation&, int64_t, int64_t, int64_t, int64_t);   \
  template void swiglu(const T*, const T*, T*, int64_t, int64_t);                            \
  template void swiglu_backward(const T*, const T*, const T*, T*, T*, int64_t, int64_t);     \
  template void add_logits(const T*, int64_t, Accumulator<T>, LogitsState<Accumulator<T>>&); \
  template void logits_backward(T*, int64_t, Accumulator<T>, int64_t,                        \
                                const LogitsGradient<Accumulator<T>>&);
PONDER_INSTANCES(float)
PONDER_INSTANCES(double)
PONDER_INSTANCES(c10::BFloat16)
#undef PONDER_INSTANCES

}  // namespace ponder::policy::kernels
