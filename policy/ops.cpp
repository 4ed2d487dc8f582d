#include "policy/ops.h"

#include <cmath>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/error.h"

namespace ponder::policy {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// Rows that one thread takes at least.
constexpr int64_t kGrainRows = 64;

// Sums run in float32, but in float64 for float64 (the numeric-gradient tests).
template <typename T>
using Accumulator = std::conditional_t<std::is_same_v<T, double>, double, float>;

// y = x s w with s = 1 / rms(x), rows [begin, end); keeps s.
template <typename T>
void rms_norm_rows(const T* x, const T* w, T* y, Accumulator<T>* scales, int64_t begin, int64_t end,
                   int64_t dim, double eps) {
  using A = Accumulator<T>;
  for (int64_t r = begin; r < end; ++r) {
    const T* row = x + r * dim;
    A sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < dim; ++i) sum += A(row[i]) * A(row[i]);
    const A s = A(1) / std::sqrt(sum / A(dim) + A(eps));
    scales[r] = s;
#pragma omp simd
    for (int64_t i = 0; i < dim; ++i) y[r * dim + i] = T(A(row[i]) * s * A(w[i]));
  }
}

// With n = x s: dx = s (w g - n mean(w g n)); dw += g n, rows [begin, end).
template <typename T>
void rms_norm_backward_rows(const T* x, const T* w, const T* g, const Accumulator<T>* scales, T* dx,
                            Accumulator<T>* dw, int64_t begin, int64_t end, int64_t dim) {
  using A = Accumulator<T>;
  for (int64_t r = begin; r < end; ++r) {
    const T *row = x + r * dim, *grad = g + r * dim;
    const A s = scales[r];
    A dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < dim; ++i) dot += A(grad[i]) * A(w[i]) * A(row[i]);
    const A mean = dot * s * s / A(dim);
#pragma omp simd
    for (int64_t i = 0; i < dim; ++i) {
      dx[r * dim + i] = T(s * (A(grad[i]) * A(w[i]) - A(row[i]) * mean));
      dw[i] += A(grad[i]) * A(row[i]) * s;
    }
  }
}

struct RmsNorm : Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_in, const at::Tensor& weight,
                            double eps) {
    const at::Tensor x = x_in.contiguous();
    const int64_t dim = x.size(-1), rows = x.numel() / std::max<int64_t>(dim, 1);
    at::Tensor y = at::empty_like(x);
    at::Tensor scale = at::empty(
        {rows}, x.options().dtype(x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat));
    AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, x.scalar_type(), "rms_norm", [&] {
      const auto *in = x.const_data_ptr<scalar_t>(), *w = weight.const_data_ptr<scalar_t>();
      auto* out = y.data_ptr<scalar_t>();
      auto* scales = scale.data_ptr<Accumulator<scalar_t>>();
      at::parallel_for(0, rows, kGrainRows, [&](int64_t begin, int64_t end) {
        rms_norm_rows(in, w, out, scales, begin, end, dim, eps);
      });
    });
    ctx->save_for_backward({x, weight, scale});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &scale = saved[2];
    const at::Tensor g = grads[0].contiguous();
    const int64_t dim = x.size(-1), rows = x.numel() / std::max<int64_t>(dim, 1);
    // A fixed number of chunks, whatever the number of threads: the same sums in the same order.
    const int64_t chunks = std::max<int64_t>(1, std::min<int64_t>(16, rows / kGrainRows));
    at::Tensor dx = at::empty_like(x), dw = at::zeros({chunks, dim}, scale.options());
    AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, x.scalar_type(), "rms_norm_backward", [&] {
      const auto *in = x.const_data_ptr<scalar_t>(), *w = weight.const_data_ptr<scalar_t>();
      const auto* grad = g.const_data_ptr<scalar_t>();
      const auto* scales = scale.const_data_ptr<Accumulator<scalar_t>>();
      auto* out = dx.data_ptr<scalar_t>();
      auto* sums = dw.data_ptr<Accumulator<scalar_t>>();
      at::parallel_for(0, chunks, 1, [&](int64_t first, int64_t last) {
        for (int64_t c = first; c < last; ++c) {
          rms_norm_backward_rows(in, w, grad, scales, out, sums + c * dim, rows * c / chunks,
                                 rows * (c + 1) / chunks, dim);
        }
      });
    });
    return {dx, dw.sum(0).to(weight.scalar_type()), at::Tensor()};
  }
};

// out = x rotated by (cos, direction * sin).
at::Tensor rotated(const at::Tensor& x_in, const at::Tensor& cos, const at::Tensor& sin,
                   bool interleave, float direction) {
  const at::Tensor x = x_in.contiguous();
  const int64_t tokens = x.size(0), heads = x.size(1), dim = x.size(2), half = dim / 2;
  PONDER_CHECK(cos.size(0) == tokens && cos.size(1) == half,
               "[rotate] {} tokens of dim {} but tables [{}, {}]", tokens, dim, cos.size(0),
               cos.size(1));
  at::Tensor y = at::empty_like(x);
  const int64_t step = interleave ? 2 : 1, partner = interleave ? 1 : half;
  const float *c = cos.const_data_ptr<float>(), *s = sin.const_data_ptr<float>();
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, x.scalar_type(), "rotate", [&] {
    using A = Accumulator<scalar_t>;
    const scalar_t* in = x.const_data_ptr<scalar_t>();
    scalar_t* out = y.data_ptr<scalar_t>();
    at::parallel_for(0, tokens, kGrainRows, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin * heads; row < end * heads; ++row) {
        const int64_t base = row * dim, token = row / heads;
        for (int64_t i = 0; i < half; ++i) {
          const A cosine = A(c[token * half + i]), sine = A(direction * s[token * half + i]);
          const A a = A(in[base + i * step]), b = A(in[base + i * step + partner]);
          out[base + i * step] = scalar_t(a * cosine - b * sine);
          out[base + i * step + partner] = scalar_t(b * cosine + a * sine);
        }
      }
    });
  });
  return y;
}

struct Rotate : Function<Rotate> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& cos,
                            const at::Tensor& sin, bool interleave) {
    ctx->save_for_backward({cos, sin});
    ctx->saved_data["interleave"] = interleave;
    return rotated(x, cos, sin, interleave, 1.0f);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const bool interleave = ctx->saved_data["interleave"].toBool();
    return {rotated(grads[0], saved[0], saved[1], interleave, -1.0f), at::Tensor(), at::Tensor(),
            at::Tensor()};
  }
};

struct SpreadRows : Function<SpreadRows> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& order,
                            const at::Tensor& inverse, int64_t copies) {
    ctx->save_for_backward({inverse});
    ctx->saved_data["copies"] = copies;
    return x.index_select(0, order.floor_divide(copies));
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const at::Tensor inverse = ctx->get_saved_variables()[0];
    const int64_t copies = ctx->saved_data["copies"].toInt();
    at::Tensor dx = grads[0].index_select(0, inverse).view({-1, copies, grads[0].size(1)}).sum(1);
    return {dx, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

struct GatherRows : Function<GatherRows> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& y, const at::Tensor& weights,
                            const at::Tensor& order, const at::Tensor& inverse) {
    ctx->save_for_backward({y, weights, order, inverse});
    const int64_t rows = weights.size(0), copies = weights.size(1);
    const at::Tensor back = y.index_select(0, inverse).view({rows, copies, y.size(1)});
    return at::bmm(weights.unsqueeze(1), back).squeeze(1);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &y = saved[0], &weights = saved[1], &order = saved[2], &inverse = saved[3];
    const int64_t rows = weights.size(0), copies = weights.size(1);
    const at::Tensor g = grads[0].contiguous();
    const at::Tensor dy = g.index_select(0, order.floor_divide(copies))
                              .mul_(weights.reshape({-1}).index_select(0, order).unsqueeze(1));
    const at::Tensor back = y.index_select(0, inverse).view({rows, copies, y.size(1)});
    const at::Tensor dweights = at::bmm(back, g.unsqueeze(2)).squeeze(2);
    return {dy, dweights, at::Tensor(), at::Tensor()};
  }
};

struct Swiglu : Function<Swiglu> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate, const at::Tensor& up) {
    ctx->save_for_backward({gate, up});
    return at::silu(gate).mul_(up);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    return {at::silu_backward(grads[0] * saved[1], saved[0]), at::silu(saved[0]).mul_(grads[0])};
  }
};

// About 16 MB of float32 logits at a time.
int64_t chunk_rows(int64_t vocabulary) {
  return std::max<int64_t>(32, (int64_t{1} << 22) / vocabulary);
}

at::Tensor chunk_logits(const at::Tensor& hidden, const at::Tensor& weight, double temperature) {
  at::Tensor logits = at::linear(hidden, weight);
  if (logits.scalar_type() == at::kBFloat16) logits = logits.to(at::kFloat);
  if (temperature != 1.0) logits.div_(temperature);
  return logits;
}

struct ChunkedLogprobs : Function<ChunkedLogprobs> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& hidden,
                               const at::Tensor& weight, const at::Tensor& targets,
                               double temperature) {
    const int64_t tokens = hidden.size(0), rows = chunk_rows(weight.size(0));
    const auto options =
        hidden.options().dtype(hidden.scalar_type() == at::kDouble ? at::kDouble : at::kFloat);
    at::Tensor logprobs = at::empty({tokens}, options), entropies = at::empty({tokens}, options);
    for (int64_t begin = 0; begin < tokens; begin += rows) {
      const int64_t count = std::min(rows, tokens - begin);
      const at::Tensor logits = chunk_logits(hidden.narrow(0, begin, count), weight, temperature);
      const at::Tensor logp = at::log_softmax(logits, 1);
      logprobs.narrow(0, begin, count)
          .copy_(logp.gather(1, targets.narrow(0, begin, count).unsqueeze(1)).squeeze(1));
      // 0 log 0 = 0: where p underflows, logp stays finite, so the product is 0.
      entropies.narrow(0, begin, count).copy_(logp.exp().mul_(logp).sum(1).neg_());
    }
    ctx->save_for_backward({hidden, weight, targets, entropies});
    ctx->saved_data["temperature"] = temperature;
    return {logprobs, entropies};
  }

  // d logp_t / d logit_j = [j = t] - p_j and d entropy / d logit_j = -p_j (log p_j + entropy), both
  // over temperature.
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &hidden = saved[0], &weight = saved[1], &targets = saved[2],
                     &entropies = saved[3];
    const double temperature = ctx->saved_data["temperature"].toDouble();
    const int64_t tokens = hidden.size(0), rows = chunk_rows(weight.size(0));
    at::Tensor dhidden = at::empty_like(hidden);
    at::Tensor dweight = at::zeros_like(weight, entropies.options());
    for (int64_t begin = 0; begin < tokens; begin += rows) {
      const int64_t count = std::min(rows, tokens - begin);
      const at::Tensor part = hidden.narrow(0, begin, count);
      const at::Tensor logp = at::log_softmax(chunk_logits(part, weight, temperature), 1);
      const at::Tensor p = logp.exp();
      const at::Tensor target = targets.narrow(0, begin, count).unsqueeze(1);
      at::Tensor dlogits = at::zeros_like(p);
      if (grads[0].defined()) {
        const at::Tensor g = grads[0].narrow(0, begin, count).unsqueeze(1);
        dlogits.addcmul_(p, g, -1).scatter_add_(1, target, g.contiguous());
      }
      if (grads[1].defined()) {
        const at::Tensor g = grads[1].narrow(0, begin, count).unsqueeze(1);
        dlogits.addcmul_(p * (logp + entropies.narrow(0, begin, count).unsqueeze(1)), g, -1);
      }
      if (temperature != 1.0) dlogits.div_(temperature);
      const at::Tensor low = dlogits.to(hidden.scalar_type());
      dhidden.narrow(0, begin, count).copy_(at::mm(low, weight));
      dweight.add_(at::mm(low.t(), part));
    }
    return {dhidden, dweight.to(weight.scalar_type()), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  PONDER_CHECK(x.size(-1) == weight.size(0), "[rms_norm] x has {} features, the weight {}",
               x.size(-1), weight.size(0));
  return RmsNorm::apply(x, weight, eps);
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                  bool interleave) {
  return Rotate::apply(x, cos, sin, interleave);
}

at::Tensor spread_rows(const at::Tensor& x, const at::Tensor& order, const at::Tensor& inverse,
                       int64_t copies) {
  return SpreadRows::apply(x, order, inverse, copies);
}

at::Tensor gather_rows(const at::Tensor& y, const at::Tensor& weights, const at::Tensor& order,
                       const at::Tensor& inverse) {
  return GatherRows::apply(y, weights, order, inverse);
}

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  return Swiglu::apply(gate, up);
}

TokenLogprobs token_logprobs(const at::Tensor& hidden, const at::Tensor& weight,
                             const at::Tensor& targets, double temperature) {
  PONDER_CHECK(hidden.size(0) == targets.size(0),
               "[token_logprobs] {} hidden states for {} targets", hidden.size(0), targets.size(0));
  PONDER_CHECK(temperature > 0, "[token_logprobs] temperature {} is not above 0", temperature);
  const variable_list out =
      ChunkedLogprobs::apply(hidden.contiguous(), weight, targets, temperature);
  return {out[0], out[1]};
}

}  // namespace ponder::policy
