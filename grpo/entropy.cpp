#include "grpo/entropy.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

namespace ponder::grpo {

double entropy_threshold(const at::Tensor& entropies, double top_entropy_quantile) {
  if (entropies.numel() == 0) return -std::numeric_limits<double>::infinity();
  // As torch.quantile interpolates, whose rank is a float32 too (a rank just above an index leaves
  // that token out), but which refuses more than 16 M values.
  const at::Tensor sorted = std::get<0>(entropies.detach().to(at::kFloat).sort());
  const int64_t last = sorted.numel() - 1;
  const float place = static_cast<float>(1 - top_entropy_quantile) * static_cast<float>(last);
  const int64_t below = std::min(static_cast<int64_t>(place), last);
  const int64_t above = std::min(static_cast<int64_t>(std::ceil(place)), last);
  const float weight = place - static_cast<float>(below);
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
