#include "policy/linear.h"

#include <ATen/ATen.h>

#include "policy/fp8.h"
#include "policy/product.h"

namespace ponder::policy {

at::Tensor Linear::operator()(const at::Tensor& x) const {
  if (adapter && at::GradMode::is_enabled()) {
    const at::Tensor narrow = linear_map(x, adapter->a);
    return linear_map(x, weight, bias).add(linear_map(narrow, adapter->b), adapter->scaling);
  }
  if (precision != LinearPrecision::kAsStored) {
    const at::Tensor product =
        precision == LinearPrecision::kFp8
            ? fp8_linear(x, matrix())
            : at::linear(x.to(at::kBFloat16), matrix().to(at::kBFloat16)).to(x.scalar_type());
    return bias.defined() ? product + bias : product;
  }
  return linear_map(x, matrix(), bias);
}

}  // namespace ponder::policy
