#include "grpo/bounded_exp.h"

#include <ATen/ATen.h>

namespace ponder::grpo {

at::Tensor bounded_exp(const at::Tensor& x) {
  return x.clamp_max(80.0).exp();
}

}  // namespace ponder::grpo
