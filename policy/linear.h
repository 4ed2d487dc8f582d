// The one linear map of the models. Every projection of every layer goes through it, so that what
// changes a projection (an adapter beside it, quantised weights) has one place to stand.
#pragma once

#include <string>

#include <ATen/core/Tensor.h>

namespace ponder::policy {

// What a linear multiplies in; its weight is kept as it is.
enum class LinearPrecision {
  kAsStored,  // the weight's dtype
  kBFloat16,  // input and weight rounded to bfloat16
  kFp8,       // DeepSeek-V3's FP8 (policy/fp8.h)
};

struct Linear {
  std::string name;   // of the weight in a checkpoint, without ".weight"
  at::Tensor weight;  // [out, in]
  at::Tensor bias;    // [out]; undefined: none
  LinearPrecision precision = LinearPrecision::kAsStored;

  bool defined() const { return weight.defined(); }

  // x [..., in] -> [..., out] in x's dtype, with graph. The bias is added in x's dtype.
  at::Tensor operator()(const at::Tensor& x) const;

  // The matrix [out, in] that the map multiplies with, for code that folds it into another product.
  const at::Tensor& matrix() const { return weight; }
};

}  // namespace ponder::policy
