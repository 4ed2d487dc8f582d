// exp that stays finite. Beyond an exponent of about 88 a float32 weight is infinite, and infinity
// times an advantage of 0 is not a number: one stray token would spoil the step. TRL has no such
// bound; below it nothing changes.
#pragma once

#include <ATen/core/Tensor.h>

namespace ponder::grpo {

// exp(min(x, 80)), differentiable; the gradient is 0 beyond the bound.
at::Tensor bounded_exp(const at::Tensor& x);

}  // namespace ponder::grpo
