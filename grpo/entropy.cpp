#include "grpo/entropy.h"

#include <algorithm>

#include <ATen/ATen.h>

namespace ponder::grpo {

double entropy_threshold(const at::Tensor& entropies, double top_entropy_quantile) {
  if (entropies.numel() == 0) return -std::numeric_limits<double>::infinity();
  const at::Tensor values = entropies.detach().to(at::kFloat);
  return at::quantile(values, 1 - top_entropy_quantile).item<double>();
}

double count_at_least(const at::Tensor& entropies, double threshold) {
  return (entropies.detach() >= threshold).sum().item<double>();
}

void AdaptiveEntropy::observe(double entropy) {
  coef = entropy <= target ? std::min(coef + delta, coef_max) : std::max(coef - delta, coef_min);
  last_entropy = entropy;
}

}  // namespace ponder::grpo
