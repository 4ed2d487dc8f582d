#include "policy/linear.h"

#include <ATen/ATen.h>

#include "policy/checkpointing.h"
#include "policy/fp8.h"
#include "policy/product.h"

namespace ponder::policy {
namespace {

// x times `matrix` [out, in] plus the bias, in the map's precision.
at::Tensor map_product(const Linear& map, const at::Tensor& x, const at::Tensor& matrix) {
  const at::Tensor& bias = map.bias;
  if (map.precision == LinearPrecision::kAsStored) return linear_map(x, matrix, bias);
  const at::Tensor out =
      map.precision == LinearPrecision::kFp8
          ? fp8_linear(x, matrix)
          : at::linear(x.to(at::kBFloat16), matrix.to(at::kBFloat16)).to(x.scalar_type());
  return bias.defined() ? out + bias : out;
}

}  // namespace

at::Tensor Linear::operator()(const at::Tensor& x) const {
  if (!adapter || !(at::GradMode::is_enabled() || in_checkpointed_forward()))
    return map_product(*this, x, matrix());
  const at::Tensor narrow = linear_map(x, adapter->a);
  return map_product(*this, x, weight).add(linear_map(narrow, adapter->b), adapter->scaling);
}

}  // namespace ponder::policy
