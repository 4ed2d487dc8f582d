// A model's tensors while it is built: each block asks for what it needs under its Hugging Face
// name, and the model keeps the list.
#pragma once

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "policy/linear.h"

namespace ponder::policy {

// One tensor of the model under its Hugging Face name.
struct Parameter {
  std::string name;
  at::Tensor tensor;
  bool trainable = true;  // false: a buffer such as e_score_correction_bias
};

class ParameterMaker {
 public:
  // Tensors of `dtype` on the device; on the meta device with neither memory nor values.
  ParameterMaker(at::ScalarType dtype, at::Device device) : dtype_(dtype), device_(device) {}

  // Uninitialised; requires a gradient.
  at::Tensor weight(const std::string& name, at::IntArrayRef shape);
  // Uninitialised float32 whatever the model's dtype, without a gradient.
  at::Tensor buffer(const std::string& name, at::IntArrayRef shape);
  // PREFIX.weight [out, in] and, where asked, PREFIX.bias [out].
  Linear linear(const std::string& prefix, int64_t out, int64_t in, bool bias = false);

  std::vector<Parameter> take() { return std::move(parameters_); }

 private:
  at::ScalarType dtype_;
  at::Device device_;
  std::vector<Parameter> parameters_;
};

}  // namespace ponder::policy
