// The one linear map of the models. Every projection of every layer goes through it, so that what
// changes a projection (an adapter beside it, quantised weights) has one place to stand.
#pragma once

#include <string>

#include <ATen/core/Tensor.h>

namespace ponder::policy {

struct Linear {
  std::string name;   // of the weight in a checkpoint, without ".weight"
  at::Tensor weight;  // [out, in]
  at::Tensor bias;    // [out]; undefined: none

  bool defined() const { return weight.defined(); }

  // x [..., in] -> [..., out], with graph.
  at::Tensor operator()(const at::Tensor& x) const;

  // The matrix [out, in] that the map multiplies with, for code that folds it into another product.
  const at::Tensor& matrix() const { return weight; }
};

}  // namespace ponder::policy
