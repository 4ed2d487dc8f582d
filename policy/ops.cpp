#include "policy/ops.h"

#include <cmath>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/error.h"
#include "policy/device/ops.h"
#include "policy/product.h"
#include "policy/row_kernels.h"

namespace ponder::policy {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// Rows that one thread takes at least.
constexpr int64_t kGrainRows = 64;

using simd::Accumulator;

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
        kernels::rms_norm(in, w, out, scales, begin, end, dim, eps);
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
          kernels::rms_norm_backward(in, w, grad, scales, out, sums + c * dim, rows * c / chunks,
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
  const kernels::Rotation rotation = {cos.const_data_ptr<float>(), sin.const_data_ptr<float>(),
                                      direction, interleave};
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, x.scalar_type(), "rotate", [&] {
    const scalar_t* in = x.const_data_ptr<scalar_t>();
    scalar_t* out = y.data_ptr<scalar_t>();
    at::parallel_for(0, tokens, kGrainRows, [&](int64_t begin, int64_t end) {
      kernels::rotate(in, out, rotation, begin, end, heads, dim);
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

// Elements that one thread takes at least.
constexpr int64_t kGrainElements = 1 << 14;

at::Tensor swiglu_of(const at::Tensor& gate, const at::Tensor& up) {
  at::Tensor y = at::empty_like(gate);
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, gate.scalar_type(), "swiglu", [&] {
    const auto *a = gate.const_data_ptr<scalar_t>(), *b = up.const_data_ptr<scalar_t>();
    auto* out = y.data_ptr<scalar_t>();
    at::parallel_for(0, gate.numel(), kGrainElements,
                     [&](int64_t begin, int64_t end) { kernels::swiglu(a, b, out, begin, end); });
  });
  return y;
}

// Gradients of gate and up from that of their swiglu.
variable_list swiglu_gradients(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& g) {
  at::Tensor dgate = at::empty_like(gate), dup = at::empty_like(up);
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, gate.scalar_type(), "swiglu_backward", [&] {
    const auto *a = gate.const_data_ptr<scalar_t>(), *b = up.const_data_ptr<scalar_t>(),
               *d = g.const_data_ptr<scalar_t>();
    auto *da = dgate.data_ptr<scalar_t>(), *db = dup.data_ptr<scalar_t>();
    at::parallel_for(0, gate.numel(), kGrainElements, [&](int64_t begin, int64_t end) {
      kernels::swiglu_backward(a, b, d, da, db, begin, end);
    });
  });
  return {dgate, dup};
}

struct Swiglu : Function<Swiglu> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate, const at::Tensor& up) {
    ctx->save_for_backward({gate, up});
    return swiglu_of(gate, up);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    return swiglu_gradients(saved[0], saved[1], grads[0].contiguous());
  }
};

struct SwigluLinear : Function<SwigluLinear> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate, const at::Tensor& up,
                            const at::Tensor& weight) {
    ctx->save_for_backward({gate, up, weight});
    return product(swiglu_of(gate, up), weight.t());
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &gate = saved[0], &up = saved[1], &weight = saved[2];
    at::Tensor dweight;
    if (ctx->needs_input_grad(2)) dweight = product(grads[0].t(), swiglu_of(gate, up));
    variable_list out = swiglu_gradients(gate, up, product(grads[0], weight));
    out.push_back(dweight);
    return out;
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  PONDER_CHECK(x.size(-1) == weight.size(0), "[rms_norm] x has {} features, the weight {}",
               x.size(-1), weight.size(0));
  if (!x.is_cpu()) return device::rms_norm(x, weight, eps);
  return RmsNorm::apply(x, weight, eps);
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                  bool interleave) {
  if (!x.is_cpu()) return device::rotate(x, cos, sin, interleave);
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
  if (!gate.is_cpu()) return device::swiglu(gate, up);
  return Swiglu::apply(gate.contiguous(), up.contiguous());
}

at::Tensor swiglu_linear(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& weight) {
  if (!gate.is_cpu()) return at::linear(device::swiglu(gate, up), weight);
  return SwigluLinear::apply(gate.contiguous(), up.contiguous(), weight);
}

}  // namespace ponder::policy
