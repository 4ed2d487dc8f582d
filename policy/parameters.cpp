#include "policy/parameters.h"

#include <ATen/ATen.h>

namespace ponder::policy {

at::Tensor ParameterMaker::weight(const std::string& name, at::IntArrayRef shape) {
  at::Tensor tensor = at::empty(shape, at::TensorOptions(dtype_).device(device_));
  tensor.requires_grad_();
  parameters_.push_back({name, tensor, true});
  return tensor;
}

at::Tensor ParameterMaker::buffer(const std::string& name, at::IntArrayRef shape) {
  at::Tensor tensor = at::empty(shape, at::TensorOptions(at::kFloat).device(device_));
  parameters_.push_back({name, tensor, false});
  return tensor;
}

Linear ParameterMaker::linear(const std::string& prefix, int64_t out, int64_t in, bool bias) {
  Linear map{.name = prefix, .weight = weight(prefix + ".weight", {out, in}), .bias = {}};
  if (bias) map.bias = weight(prefix + ".bias", {out});
  return map;
}

}  // namespace ponder::policy
