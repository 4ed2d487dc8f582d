// Entropy in the loss: which tokens count as the uncertain ones, and a bonus whose weight follows a
// target.
#pragma once

#include <limits>

#include <ATen/core/Tensor.h>

namespace ponder::grpo {

// The entropy at and above which a token is among the top share: quantile 1 - top_entropy_quantile
// of `entropies` [n], linearly interpolated, in float32 (torch.quantile). -infinity for no tokens.
// For an update in several micro-batches: of all their entropies together
// (Normalizer::entropy_threshold).
double entropy_threshold(const at::Tensor& entropies, double top_entropy_quantile);

// How many of `entropies` [n] are at or above `threshold` (Normalizer::entropy_tokens).
double count_at_least(const at::Tensor& entropies, double threshold);

// TRL's use_adaptive_entropy, after Skywork-OR1 (arXiv:2505.22312): below the target the bonus's
// weight rises and applies, above it falls and does not.
struct AdaptiveEntropy {
  double target = 0.2;                                   // nats; LossOptions::entropy_target
  double delta = 0.005, coef_min = 0.0, coef_max = 1.0;  // the weight's step and range
  double coef = 0.0;  // the weight now: state, kept in checkpoints
  double last_entropy = std::numeric_limits<double>::infinity();  // of the update before: state

  // LossOptions::entropy_coef of the next update.
  double applied() const { return last_entropy <= target ? coef : 0.0; }
  // After each update, with the mean entropy of its trained tokens: the merged metric "entropy", or
  // "entropy_active" where top_entropy_quantile < 1.
  void observe(double entropy);
};

}  // namespace ponder::grpo
