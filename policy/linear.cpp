#include "policy/linear.h"

#include <ATen/ATen.h>

#include "policy/fp8.h"

namespace ponder::policy {

at::Tensor Linear::operator()(const at::Tensor& x) const {
  if (precision != LinearPrecision::kAsStored) {
    const at::Tensor product =
        precision == LinearPrecision::kFp8
            ? fp8_linear(x, weight)
            : at::linear(x.to(at::kBFloat16), weight.to(at::kBFloat16)).to(x.scalar_type());
    return bias.defined() ? product + bias : product;
  }
  return at::linear(x, weight, bias.defined() ? c10::optional<at::Tensor>(bias) : c10::nullopt);
}

}  // namespace ponder::policy
