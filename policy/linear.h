// The one linear map of the models. Every projection of every layer goes through it, so that what
// changes a projection (an adapter beside it, quantised weights) has one place to stand.
#pragma once

#include <memory>
#include <string>

#include <ATen/core/Tensor.h>

namespace ponder::policy {

// What a linear multiplies in; its weight is kept as it is.
enum class LinearPrecision {
  kAsStored,  // the weight's dtype
  kBFloat16,  // input and weight rounded to bfloat16
  kFp8,       // DeepSeek-V3's FP8 (policy/fp8.h)
};

// A trained low-rank difference beside a frozen matrix: LoRA (arXiv:2106.09685), base + scaling b
// a.
struct Adapter {
  std::string name;  // of the linear
  at::Tensor base;   // [out, in], frozen
  at::Tensor a;      // [r, in]
  at::Tensor b;      // [out, r]
  double scaling = 1;
  at::Tensor merged;  // [out, in]: the sum as of the last refresh_lora() (lora.h)
};

struct Linear {
  std::string name;   // of the weight in a checkpoint, without ".weight"
  at::Tensor weight;  // [out, in]
  at::Tensor bias;    // [out]; undefined: none
  LinearPrecision precision = LinearPrecision::kAsStored;
  std::shared_ptr<Adapter> adapter = {};  // null: none; trained in the weight's own dtype

  bool defined() const { return weight.defined(); }
  // x times the weight and nothing else.
  bool plain() const {
    return !adapter && !bias.defined() && precision == LinearPrecision::kAsStored;
  }

  // x [..., in] -> [..., out] in x's dtype, with graph. The bias is added in x's
  // dtype; an adapter's own products are made in it, whatever the precision. Where gradients are
  // off, and no checkpointed pass (checkpointing.h) runs, an adapter is taken as merged.
  at::Tensor operator()(const at::Tensor& x) const;

  // The matrix [out, in] that the map multiplies with, for code that folds it into another product.
  // With an adapter the merged one: no gradient reaches the adapter through it.
  const at::Tensor& matrix() const { return adapter ? adapter->merged : weight; }
};

}  // namespace ponder::policy
