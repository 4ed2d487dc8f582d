#include "policy/linear.h"

#include <ATen/ATen.h>

#include "policy/fp8.h"

namespace ponder::policy {

at::Tensor Linear::operator()(const at::Tensor& x) const {
  const auto added = bias.defined() ? c10::optional<at::Tensor>(bias) : c10::nullopt;
  if (adapter && at::GradMode::is_enabled()) {
    const at::Tensor narrow = at::linear(x, adapter->a);
    return at::linear(x, weight, added).add(at::linear(narrow, adapter->b), adapter->scaling);
  }
  if (precision != LinearPrecision::kAsStored) {
    const at::Tensor product =
        precision == LinearPrecision::kFp8
            ? fp8_linear(x, matrix())
            : at::linear(x.to(at::kBFloat16), matrix().to(at::kBFloat16)).to(x.scalar_type());
    return bias.defined() ? product + bias : product;
  }
  return at::linear(x, matrix(), added);
}

}  // namespace ponder::policy
