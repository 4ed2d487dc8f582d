#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

#include "policy/device/ops.h"

namespace ponder::policy::device {
namespace {

// The bits of the masters, int32: (parameter bits << 16) + low.
at::Tensor master_bits(const at::Tensor& parameter, const at::Tensor& low) {
  return parameter.view(at::kShort).to(at::kInt) * 65536 + low;
}

}  // namespace

at::Tensor master_weights(const at::Tensor& parameter, const at::Tensor& low) {
  return master_bits(parameter, low).view(at::kFloat);
}

namespace {

// Weights that are updated at a time: what stands beside them in between is small.
constexpr int64_t kPart = int64_t{1} << 24;

constexpr int64_t kLow32 = 0xFFFFFFFF;

// The hash of policy/master_weights.cpp, on int64 that hold 32 bits.
at::Tensor mixed(at::Tensor x) {
  x = (x ^ x.bitwise_right_shift(16)).mul(0x85EBCA6B).bitwise_and(kLow32);
  x = (x ^ x.bitwise_right_shift(13)).mul(0xC2B2AE35).bitwise_and(kLow32);
  return x ^ x.bitwise_right_shift(16);
}

// bfloat16 moments, rounded up where `chance`, 16 bits, exceeds what is cut off; others as they
// are.
void store_moment(const at::Tensor& to, const at::Tensor& x, const at::Tensor& chance) {
  if (to.scalar_type() != at::kBFloat16) {
    to.copy_(x);
    return;
  }
  const at::Tensor bits = x.view(at::kInt).to(at::kLong).bitwise_and(kLow32);
  to.view(at::kShort).copy_((bits + chance).bitwise_right_shift(16));
}

struct Part {
  at::Tensor parameter, low, exp_avg, exp_avg_sq, grad;
};

// The rounding of masters is that of policy/master_weights.cpp: the bits plus 0x8000, split at bit
// 16. An arithmetic shift keeps the upper half's sign, which is the bfloat16's.
void update(const Part& part, int64_t first, const AdamStep& step) {
  const at::Tensor g = part.grad.to(at::kFloat) * step.grad_scale;
  const at::Tensor m = part.exp_avg.to(at::kFloat).lerp(g, 1 - step.beta1),
                   v = part.exp_avg_sq.to(at::kFloat) * step.beta2 + (1 - step.beta2) * g * g;
  at::Tensor chance;
  if (part.exp_avg.scalar_type() == at::kBFloat16) {
    const auto options = at::TensorOptions(at::kLong).device(g.device());
    const at::Tensor seed = mixed(at::full({}, step.count & kLow32, options));
    chance = mixed(at::arange(first, first + g.numel(), options) ^ seed);
  }
  store_moment(part.exp_avg, m, chance.defined() ? chance.bitwise_and(0xFFFF) : chance);
  store_moment(part.exp_avg_sq, v, chance.defined() ? chance.bitwise_right_shift(16) : chance);
  const at::Tensor divisor = v.sqrt().div_(std::sqrt(step.bias_correction2)).add_(step.epsilon);
  const at::Tensor w = master_weights(part.parameter, part.low)
                           .mul_(1 - step.learning_rate * step.weight_decay)
                           .addcdiv_(m, divisor, -step.learning_rate / step.bias_correction1);
  const at::Tensor bits = w.view(at::kInt);
  const at::Tensor upper = at::bitwise_right_shift(bits + 0x8000, 16);
  part.parameter.view(at::kShort).copy_(upper);
  part.low.copy_(bits - upper * 65536);
}

}  // namespace

void master_adamw_(const at::Tensor& parameter, const MasterState& state, const at::Tensor& grad,
                   const AdamStep& step) {
  const auto flat = [](const at::Tensor& x) { return x.reshape({-1}); };
  const Part whole{parameter.view({-1}), state.low.view({-1}), state.exp_avg.view({-1}),
                   state.exp_avg_sq.view({-1}), flat(grad)};
  for (int64_t first = 0; first < parameter.numel(); first += kPart) {
    const auto part = [&](const at::Tensor& x) {
      return x.narrow(0, first, std::min(kPart, parameter.numel() - first));
    };
    update({part(whole.parameter), part(whole.low), part(whole.exp_avg), part(whole.exp_avg_sq),
            part(whole.grad)},
           first, step);
  }
}

}  // namespace ponder::policy::device
