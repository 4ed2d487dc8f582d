// Every variant's gradient against numeric ones in float64, and DeepSeekMath's gradient
// coefficient.
#include <cmath>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "grpo/loss.h"
#include "tests/grpo/support.h"

namespace ponder::grpo {
namespace {

constexpr double kStep = 1e-6;

// The weight on log pi is a constant there: the numeric gradient moves old_logprobs along, so that
// the weight stays.
bool detaches_weight(const std::string& loss_type) {
  return loss_type == "cispo" || loss_type == "vespo";
}

double loss_at(LossInputs in, const LossOptions& options, int64_t token, double step,
               bool move_old) {
  const auto moved = [&](const at::Tensor& x) {
    at::Tensor copy = x.detach().clone();
    copy[token] += step;
    return copy;
  };
  in.logprobs = moved(in.logprobs);
  if (move_old) in.old_logprobs = moved(in.old_logprobs);
  in.entropies = in.entropies.detach();
  return policy_loss(in, options).loss.item<double>();
}

void expect_numeric_gradient(const LossOptions& options) {
  const LossInputs in = testing::make_inputs(at::kDouble, 7);
  policy_loss(in, options).loss.backward();
  const std::vector<double> gradient = testing::values_of(in.logprobs.grad());
  const bool move_old = detaches_weight(options.loss_type);
  for (size_t t = 0; t < gradient.size(); ++t) {
    const auto token = static_cast<int64_t>(t);
    const double up = loss_at(in, options, token, kStep, move_old);
    const double down = loss_at(in, options, token, -kStep, move_old);
    EXPECT_NEAR(gradient[t], (up - down) / (2 * kStep), 1e-8) << "token " << t;
  }
}

LossOptions every_term(const std::string& loss_type) {
  LossOptions o;
  o.loss_type = loss_type;
  o.epsilon_high = loss_type == "cispo" ? 1.1 : 0.28;
  o.delta = 1.2;
  o.beta = 0.1;
  o.entropy_coef = 0.01;
  o.top_entropy_quantile = 0.8;
  o.off_policy_mask_threshold = 0.01;
  o.max_completion_length = 8;
  // Beside a detached weight the KL is checked without w, which moves with the step.
  o.use_bias_correction_kl = !detaches_weight(loss_type);
  return o;
}

TEST(GrpoLossGradient, EqualsNumericForEveryVariantAndLevel) {
  for (const std::string& loss_type : loss_types()) {
    for (const ImportanceLevel level : {ImportanceLevel::kToken, ImportanceLevel::kSequence}) {
      for (const KlEstimator kl : {KlEstimator::kK1, KlEstimator::kK2, KlEstimator::kK3}) {
        SCOPED_TRACE(loss_type + (level == ImportanceLevel::kToken ? " token k" : " sequence k") +
                     std::to_string(static_cast<int>(kl) + 1));
        LossOptions options = every_term(loss_type);
        options.importance_sampling_level = level;
        options.kl_estimator = kl;
        expect_numeric_gradient(options);
      }
    }
  }
}

TEST(GrpoLossGradient, EntropyBonusEqualsNumeric) {
  LossInputs in = testing::make_inputs(at::kDouble, 3);
  LossOptions options;
  options.entropy_coef = 0.05;
  policy_loss(in, options).loss.backward();
  // loss -= coef mean(H): the same for each of the 14 tokens.
  for (const double g : testing::values_of(in.entropies.grad())) EXPECT_NEAR(g, -0.05 / 14, 1e-15);
}

// On-policy gradient of the loss with respect to log pi, times -(sequences |o_i|): the coefficient
// of grad log pi.
std::vector<double> gradient_coefficients(const LossOptions& options, LossInputs& in) {
  in = testing::make_inputs(at::kDouble, 11);
  in.old_logprobs = at::Tensor();
  in.sampling_logprobs = at::Tensor();
  policy_loss(in, options).loss.backward();
  std::vector<double> gradient = testing::values_of(in.logprobs.grad());
  for (size_t i = 0; i + 1 < in.offsets.size(); ++i) {
    const int32_t length = in.offsets[i + 1] - in.offsets[i];
    for (int32_t t = in.offsets[i]; t < in.offsets[i + 1]; ++t)
      gradient[t] *= -in.normalizer.sequences * length;
  }
  return gradient;
}

// DeepSeekMath eq. 21 (arXiv:2402.03300): GC = A + beta (pi_ref/pi - 1) when pi_old = pi.
TEST(GrpoLossGradient, IsDeepSeekMathsGradientCoefficient) {
  LossOptions options = paper_defaults("grpo");
  options.beta = 0.04;
  LossInputs in;
  const std::vector<double> got = gradient_coefficients(options, in);
  const auto lp = testing::values_of(in.logprobs), ref = testing::values_of(in.ref_logprobs);
  const auto advantages = testing::values_of(in.advantages);
  for (size_t t = 0; t < got.size(); ++t) {
    EXPECT_NEAR(got[t], advantages[t] + 0.04 * (std::exp(ref[t] - lp[t]) - 1), 1e-12)
        << "token " << t;
  }
}

// DeepSeek-V3.2 §3.1: multiplied by w, k3's gradient is the unbiased one of the reverse KL,
// log(pi/pi_ref) grad log pi.
TEST(GrpoLossGradient, OfCorrectedK3IsTheReverseKls) {
  LossOptions options = paper_defaults("grpo");
  options.beta = 0.04;
  options.use_bias_correction_kl = true;
  LossInputs in;
  const std::vector<double> got = gradient_coefficients(options, in);
  const auto lp = testing::values_of(in.logprobs), ref = testing::values_of(in.ref_logprobs);
  const auto advantages = testing::values_of(in.advantages);
  for (size_t t = 0; t < got.size(); ++t) {
    EXPECT_NEAR(got[t], advantages[t] - 0.04 * (lp[t] - ref[t]), 1e-12) << "token " << t;
  }
}

}  // namespace
}  // namespace ponder::grpo
