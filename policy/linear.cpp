#include "policy/linear.h"

#include <ATen/ATen.h>

namespace ponder::policy {

at::Tensor Linear::operator()(const at::Tensor& x) const {
  return at::linear(x, weight, bias.defined() ? c10::optional<at::Tensor>(bias) : c10::nullopt);
}

}  // namespace ponder::policy
