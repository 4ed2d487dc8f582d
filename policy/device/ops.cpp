#include "policy/device/ops.h"

#include <ATen/ATen.h>

namespace ponder::policy::device {

at::Tensor moved(const at::Tensor& x, at::Device device) {
  if (!x.defined() || x.device() == device) return x;
  if (x.is_cpu() && device.is_cuda()) return x.pin_memory().to(device, /*non_blocking=*/true);
  return x.to(device);
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return at::rms_norm(x, {x.size(-1)}, weight, eps);
}

at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                  bool interleave) {
  const int64_t half = x.size(2) / 2;
  const at::ScalarType wide = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor c = cos.unsqueeze(1).to(wide), s = sin.unsqueeze(1).to(wide);
  const at::Tensor pairs = interleave ? x.to(wide).unflatten(2, {half, 2})
                                      : x.to(wide).unflatten(2, {2, half}).transpose(2, 3);
  const at::Tensor a = pairs.select(3, 0), b = pairs.select(3, 1);
  const at::Tensor turned = at::stack({a * c - b * s, b * c + a * s}, interleave ? 3 : 2);
  return turned.flatten(2).to(x.scalar_type());
}

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  return at::silu(gate) * up;
}

Rotary rotary_tables(const at::Tensor& positions, const at::Tensor& frequencies, double scale) {
  const at::Tensor angles = positions.to(at::kFloat).unsqueeze(1) * frequencies;
  return {angles.cos() * scale, angles.sin() * scale};
}

}  // namespace ponder::policy::device
