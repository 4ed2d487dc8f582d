// The sampler's correction, the off-policy mask, the entropy mask and the adaptive bonus, against
// plain loops.
#include <cmath>
#include <limits>
#include <tuple>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "grpo/entropy.h"
#include "grpo/loss.h"
#include "tests/grpo/support.h"

namespace ponder::grpo {
namespace {

const std::vector<int32_t> kOffsets{0, 2, 2, 5};

at::Tensor doubles(const std::vector<double>& values) {
  return at::tensor(values, at::dtype(at::kDouble));
}

std::vector<double> ratios(ImportanceCorrection mode, std::optional<double> low = {}) {
  LossOptions options;
  options.importance_correction = mode;
  options.importance_clip_max = 2.0;
  options.importance_clip_min = low;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  // Log-ratios 0.5, 1.0 | | -1.0, 0 (unknown to the sampler), 0.2.
  const at::Tensor old = doubles({-1, -1, -2, -2, -2}),
                   sampling = doubles({-1.5, -2, -1, nan, -2.2});
  return testing::values_of(importance_ratios(old, sampling, kOffsets, options));
}

void expect_near(const std::vector<double>& got, const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-12) << i;
}

TEST(GrpoImportanceCorrection, TruncatesOrMasksTokensOrSequences) {
  const double first = std::exp(0.5), low = std::exp(-1.0), last = std::exp(0.2),
               sequence = std::exp(-0.8);
  expect_near(ratios(ImportanceCorrection::kTokenTruncate), {first, 2, low, 1, last});
  expect_near(ratios(ImportanceCorrection::kTokenMask), {first, 0, low, 1, last});
  expect_near(ratios(ImportanceCorrection::kSequenceTruncate),
              {2, 2, sequence, sequence, sequence});
  expect_near(ratios(ImportanceCorrection::kSequenceMask), {0, 0, sequence, sequence, sequence});
  expect_near(ratios(ImportanceCorrection::kTokenTruncate, 0.5), {first, 2, 0.5, 1, last});
  expect_near(ratios(ImportanceCorrection::kTokenMask, 0.5), {first, 0, 0, 1, last});
}

TEST(GrpoImportanceCorrection, WeighsEachTokensLoss) {
  LossInputs in = testing::make_inputs(at::kDouble, 9);
  LossOptions options;
  options.loss_type = "dapo";
  policy_loss(in, options).loss.backward();
  const auto plain = testing::values_of(in.logprobs.grad());
  in.logprobs.mutable_grad().reset();
  in.importance_ratios = at::arange(14, at::kDouble) / 7;
  options.importance_correction = ImportanceCorrection::kTokenTruncate;
  const LossResult result = policy_loss(in, options);
  result.loss.backward();
  const auto weighed = testing::values_of(in.logprobs.grad());
  for (size_t t = 0; t < plain.size(); ++t)
    EXPECT_NEAR(weighed[t], plain[t] * static_cast<double>(t) / 7, 1e-12);
  EXPECT_NEAR(result.metrics.at("sampling/importance_sampling_ratio/max"), 13.0 / 7, 1e-12);
  EXPECT_NEAR(result.metrics.at("sampling/importance_sampling_ratio/mean"), 6.5 / 7, 1e-12);
  options.importance_correction = ImportanceCorrection::kSequenceTruncate;
  in.importance_ratios = at::full({14}, 0.5, at::kDouble);
  // Four sequences at a half and an empty one at 1.
  EXPECT_NEAR(policy_loss(in, options).metrics.at("sampling/importance_sampling_ratio/mean"), 0.6,
              1e-12);
  const at::Tensor difference = (in.old_logprobs - in.sampling_logprobs).abs();
  EXPECT_NEAR(result.metrics.at("sampling/sampling_logp_difference/max"),
              difference.max().item<double>(), 1e-12);
}

TEST(GrpoOffPolicyMask, DropsDriftedSequencesWithNegativeAdvantage) {
  LossInputs in = testing::make_inputs(at::kDouble, 9);
  in.offsets = {0, 2, 4, 6};
  for (at::Tensor* x :
       {&in.logprobs, &in.old_logprobs, &in.ref_logprobs, &in.sampling_logprobs, &in.entropies}) {
    *x = x->detach().slice(0, 0, 6).clone();
  }
  in.logprobs = doubles({-2, -2, -2, -2, -2, -2}).requires_grad_(true);
  in.old_logprobs = in.logprobs.detach();
  // Mean log(sampler/pi): 0.5 for the first two sequences, 0.05 for the third.
  in.sampling_logprobs = doubles({-1.0, -2.0, -1.5, -1.5, -1.9, -2.0});
  in.advantages = doubles({1, 1, -1, -1, -1, -1});
  LossOptions options;
  options.off_policy_mask_threshold = 0.1;
  policy_loss(in, options).loss.backward();
  const auto gradient = testing::values_of(in.logprobs.grad());
  EXPECT_LT(gradient[0], 0);  // drifted, but its advantage is positive
  EXPECT_EQ(gradient[2], 0);  // drifted and negative
  EXPECT_EQ(gradient[3], 0);
  EXPECT_GT(gradient[4], 0);  // negative, but near
}

TEST(GrpoEntropyMask, KeepsTheTopShare) {
  const at::Tensor entropies = at::arange(10, at::kDouble);
  EXPECT_NEAR(entropy_threshold(entropies, 0.2), 7.2, 1e-6);
  EXPECT_EQ(count_at_least(entropies, 7.2), 2);
  EXPECT_EQ(entropy_threshold(at::empty({0}), 0.2), -std::numeric_limits<double>::infinity());
  LossInputs in = testing::make_inputs(at::kDouble, 9);
  LossOptions options;
  options.top_entropy_quantile = 0.5;
  policy_loss(in, options).loss.backward();
  const auto gradient = testing::values_of(in.logprobs.grad()),
             entropy = testing::values_of(in.entropies);
  const double threshold = entropy_threshold(in.entropies, 0.5);
  int kept = 0;
  for (size_t t = 0; t < gradient.size(); ++t) {
    if (entropy[t] < threshold) {
      EXPECT_EQ(gradient[t], 0) << t;
    }
    kept += entropy[t] >= threshold ? 1 : 0;
  }
  EXPECT_EQ(kept, 7);
}

// torch.quantile(torch.arange(n).float(), 1 - top_entropy_quantile), torch 2.15: the ranks are
// float32, here just above 15, so that token 15 is left out.
TEST(GrpoEntropyMask, RanksAsTorchQuantileDoes) {
  for (const auto& [tokens, share, kept] : {std::tuple<int64_t, double, double>{26, 0.4, 10},
                                            {51, 0.7, 35},
                                            {101, 0.85, 85},
                                            {51, 0.5, 26}}) {
    const at::Tensor entropies = at::arange(tokens, at::kDouble);
    EXPECT_EQ(count_at_least(entropies, entropy_threshold(entropies, share)), kept) << tokens;
  }
}

TEST(GrpoAdaptiveEntropy, RaisesTheBonusBelowTheTargetAndStopsItAbove) {
  AdaptiveEntropy control{
      .target = 1.0, .delta = 0.25, .coef_min = 0.0, .coef_max = 0.4, .coef = 0.1};
  EXPECT_EQ(control.applied(), 0);  // nothing measured yet
  control.observe(0.5);
  EXPECT_DOUBLE_EQ(control.applied(), 0.35);
  control.observe(0.5);
  EXPECT_DOUBLE_EQ(control.applied(), 0.4);
  control.observe(2.0);
  EXPECT_EQ(control.applied(), 0);
  EXPECT_DOUBLE_EQ(control.coef, 0.15);
  control.observe(1.5);
  EXPECT_EQ(control.coef, 0);
}

}  // namespace
}  // namespace ponder::grpo
