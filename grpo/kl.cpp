#include "grpo/kl.h"

#include <ATen/ATen.h>

#include "core/error.h"
#include "core/spelling.h"
#include "grpo/bounded_exp.h"

namespace ponder::grpo {
namespace {

// float64 [tokens] on the CPU, 0 outside the mask.
at::Tensor masked_kl(const TrainBatch& batch, KlEstimator estimator) {
  PONDER_CHECK(batch.ref_logprobs.defined(), "[kl] the batch has no ref_logprobs");
  at::NoGradGuard no_grad;
  const at::Tensor kl = kl_estimate(batch.old_logprobs.to(at::kDouble),
                                    batch.ref_logprobs.to(at::kDouble), estimator);
  return kl.masked_fill(batch.loss_mask.logical_not(), 0.0).cpu().contiguous();
}

}  // namespace

KlEstimator kl_estimator_from(const std::string& name) {
  if (name == "k1") return KlEstimator::kK1;
  if (name == "k2") return KlEstimator::kK2;
  if (name == "k3") return KlEstimator::kK3;
  core::throw_user("kl_estimator: unknown estimator '{}'{}", name,
                   core::suggestion(name, {"k1", "k2", "k3"}));
}

at::Tensor kl_estimate(const at::Tensor& logprobs, const at::Tensor& ref_logprobs,
                       KlEstimator estimator) {
  const at::Tensor d = logprobs - ref_logprobs.detach();
  switch (estimator) {
    case KlEstimator::kK1:
      return d;
    case KlEstimator::kK2:
      return d.square() / 2;
    case KlEstimator::kK3:
      break;
  }
  return bounded_exp(-d) + d - 1;
}

std::vector<std::vector<double>> kl_penalties(const TrainBatch& batch, double beta,
                                              KlEstimator estimator) {
  const at::Tensor kl = masked_kl(batch, estimator);
  const double* values = kl.const_data_ptr<double>();
  std::vector<std::vector<double>> penalties;
  for (int64_t i = 0; i < batch.num_sequences(); ++i) {
    if (i == 0 || batch.groups[i] != batch.groups[i - 1]) penalties.emplace_back();
    double sum = 0;
    for (int32_t t = batch.cu_seqlens[i]; t < batch.cu_seqlens[i + 1]; ++t) sum += values[t];
    penalties.back().push_back(beta * sum);
  }
  return penalties;
}

at::Tensor reinforce_plus_plus_token_advantages(const TrainBatch& batch, double beta) {
  at::Tensor advantages = masked_kl(batch, KlEstimator::kK1).neg() * beta;
  double* a = advantages.mutable_data_ptr<double>();
  const at::Tensor rewards = batch.advantages.to(at::kDouble).cpu();
  for (int64_t i = 0; i < batch.num_sequences(); ++i) {
    for (int32_t t = batch.cu_seqlens[i + 1] - 2; t >= batch.cu_seqlens[i]; --t) a[t] += a[t + 1];
  }
  const at::Tensor mask = batch.loss_mask.cpu();
  const at::Tensor kept = (advantages + rewards).masked_select(mask);
  const at::Tensor centred = kept - kept.mean();
  const double deviation = kept.numel() > 1 ? kept.std().item<double>() : 0.0;
  const at::Tensor normalised =
      at::zeros_like(advantages).masked_scatter(mask, centred / (deviation + 1e-4));
  return normalised.to(batch.advantages.options());
}

}  // namespace ponder::grpo
