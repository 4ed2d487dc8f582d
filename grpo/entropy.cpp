#include "grpo/entropy.h"

#include <algorithm>

#include <ATen/ATen.h>

namespace ponder::grpo {

double entropy_threshold(const at::Tensor& entropies, double top_entropy_quantile) {
  if (entropies.numel() == 0) return -std::numeric_limits<double>::infinity();
  // As torch.quantile interpolates, which refuses more than 16 M values.
  const at::Tensor sorted = std::get<0>(entropies.detach().to(at::kFloat).sort());
  const double place = (1 - top_entropy_quantile) * static_cast<double>(sorted.numel() - 1);
  const auto below = static_cast<int64_t>(place);
  const int64_t above = std::min(below + 1, sorted.numel() - 1);
  const double weight = place - static_cast<double>(below);
  return at::lerp(sorted[below], sorted[above], weight).item<double>();
}

double count_at_least(const at::Tensor& entropies, double threshold) {
  return (entropies.detach() >= threshold).sum().item<double>();
}

void AdaptiveEntropy::observe(double entropy) {
  coef = entropy <= target ? std::min(coef + delta, coef_max) : std::max(coef - delta, coef_min);
  last_entropy = entropy;
}

}  // namespace ponder::grpo
