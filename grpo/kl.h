// KL divergence to the reference policy, estimated from the sampled tokens: in the loss, or in the
// reward.
#pragma once

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "grpo/batch.h"

namespace ponder::grpo {

// Schulman's estimators (joschu.net/blog/kl-approx.html) of KL(pi || ref), with d = log pi - log
// ref:
enum class KlEstimator {
  kK1,  // d: unbiased, large variance
  kK2,  // d^2 / 2: biased, low variance; its gradient is k1's of the true KL
  kK3,  // exp(-d) + d - 1: unbiased, never negative; DeepSeekMath eq. 4 (arXiv:2402.03300)
};

// "k1" | "k2" | "k3"; UserError with the nearest name for another.
KlEstimator kl_estimator_from(const std::string& name);

// [n] nats, element by element, differentiable in `logprobs`.
at::Tensor kl_estimate(const at::Tensor& logprobs, const at::Tensor& ref_logprobs,
                       KlEstimator estimator);

// KL in the reward: beta times the sum of the estimate over each sequence's loss tokens, under the
// old policy, shaped as the groups of the batch are: [groups][completions], for
// compute_advantages(). RLOO and TRL's RLOOTrainer use k1. REQUIRES: batch.ref_logprobs is defined.
std::vector<std::vector<double>> kl_penalties(const TrainBatch& batch, double beta,
                                              KlEstimator estimator);

// KL in the reward token by token, as REINFORCE++ has it (arXiv:2501.03262 eq. 8-10): A_t = r -
// beta sum_{i >= t} k1_i, then normalised by mean and standard deviation over all loss tokens.
// batch.advantages holds the rewards r on entry; float32 [tokens] on return, 0 outside the mask.
// REQUIRES: batch.ref_logprobs is defined.
at::Tensor reinforce_plus_plus_token_advantages(const TrainBatch& batch, double beta);

}  // namespace ponder::grpo
