// Laws that every loss keeps: on-policy, empty and extreme inputs, micro-batches that add up to the
// whole.
#include <cmath>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "grpo/advantage.h"
#include "grpo/batch.h"
#include "grpo/entropy.h"
#include "grpo/loss.h"
#include "tests/grpo/support.h"

namespace ponder::grpo {
namespace {

LossOptions options_for(const std::string& loss_type) {
  LossOptions o;
  o.loss_type = loss_type;
  return o;
}

// The batch as a policy sees it that has drifted: logprobs, entropies [loss tokens] in batch order.
struct Drift {
  at::Tensor logprobs, entropies;
};

TrainBatch make_batch(const PackOptions& options = {}) {
  auto groups = testing::make_groups({{3, 7, 1, 4}, {5, 2, 6, 9}}, 5);
  groups[1].group.completions[2].finish_reason = data::FinishReason::kLength;
  TrainBatch batch = pack(groups, compute_advantages(groups, {}).values, options);
  at::Generator generator = at::detail::createCPUGenerator(1);
  const auto noise = [&](double scale) {
    return at::randn({batch.num_tokens()}, generator) * scale;
  };
  batch.ref_logprobs = batch.old_logprobs + noise(0.3);
  batch.sampling_logprobs = batch.old_logprobs + noise(0.1);
  return batch;
}

// The same numbers for a sequence wherever it stands: a function of its tokens' own old log-probs.
Drift drifted(const TrainBatch& batch) {
  const at::Tensor old = batch.old_logprobs.index_select(0, loss_indices(batch)).to(at::kDouble);
  return {(old + 0.4 * (old * 37).sin()).requires_grad_(true),
          (old * 53).cos().abs().requires_grad_(true)};
}

LossInputs in_double(const TrainBatch& batch, const Normalizer& normalizer,
                     const LossOptions& options) {
  TrainBatch wide = batch;
  for (at::Tensor* x :
       {&wide.advantages, &wide.old_logprobs, &wide.ref_logprobs, &wide.sampling_logprobs}) {
    *x = x->to(at::kDouble);
  }
  return loss_inputs(wide, {}, normalizer, options);
}

LossOptions everything(const std::string& loss_type, ImportanceLevel level) {
  LossOptions o = options_for(loss_type);
  o.importance_sampling_level = level;
  o.beta = 0.05;
  o.entropy_coef = 0.02;
  o.top_entropy_quantile = 0.6;
  o.off_policy_mask_threshold = 0.05;
  o.importance_correction = ImportanceCorrection::kTokenTruncate;
  return o;
}

void expect_parts_sum_to_whole(const TrainBatch& batch, const LossOptions& options) {
  Normalizer normalizer = normalizer_of(batch);
  const Drift all = drifted(batch);
  normalizer.entropy_threshold = entropy_threshold(all.entropies, options.top_entropy_quantile);
  normalizer.entropy_tokens = count_at_least(all.entropies, *normalizer.entropy_threshold);
  const auto evaluate = [&](const TrainBatch& part, Drift& drift) {
    drift = drifted(part);
    LossInputs in = in_double(part, normalizer, options);
    in.logprobs = drift.logprobs;
    in.entropies = drift.entropies;
    LossResult result = policy_loss(in, options);
    result.loss.backward();
    return result;
  };
  Drift whole_drift;
  const LossResult whole = evaluate(batch, whole_drift);
  double sum = 0;
  std::vector<at::Tensor> gradients;
  std::vector<MetricParts> metrics;
  for (const TrainBatch& part : split(batch, 16)) {
    Drift drift;
    const LossResult result = evaluate(part, drift);
    sum += result.loss.item<double>();
    gradients.push_back(drift.logprobs.grad());
    metrics.push_back(result.parts);
  }
  ASSERT_GT(gradients.size(), 2U);
  EXPECT_NEAR(sum, whole.loss.item<double>(), 1e-12);
  EXPECT_LT((at::cat(gradients) - whole_drift.logprobs.grad()).abs().max().item<double>(), 1e-13);
  const auto merged = metric_values(merge_metrics(metrics));
  EXPECT_EQ(merged.size(), whole.metrics.size());
  for (const auto& [name, value] : whole.metrics) EXPECT_NEAR(merged.at(name), value, 1e-9) << name;
}

TEST(GrpoLossLaws, MicroBatchesSumToTheWhole) {
  const TrainBatch batch = make_batch({.mask_truncated_completions = true});
  for (const std::string& loss_type : loss_types()) {
    for (const ImportanceLevel level : {ImportanceLevel::kToken, ImportanceLevel::kSequence}) {
      SCOPED_TRACE(loss_type);
      expect_parts_sum_to_whole(batch, everything(loss_type, level));
    }
  }
}

TEST(GrpoLossLaws, OnPolicyTheRatioIsExactlyOne) {
  for (const std::string& loss_type : loss_types()) {
    for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
      SCOPED_TRACE(loss_type);
      LossInputs in = testing::make_inputs(type, 2);
      in.sampling_logprobs = at::Tensor();
      in.old_logprobs = at::Tensor();
      LossOptions options = options_for(loss_type);
      options.delta = 1.0;  // would bite at any ratio above 1
      if (loss_type == "cispo") options.epsilon_high = 1.0;
      const LossResult implied = policy_loss(in, options);
      in.old_logprobs = in.logprobs.detach();
      const LossResult given = policy_loss(in, options);
      EXPECT_EQ(implied.loss.item<double>(), given.loss.item<double>());
      for (const auto& [name, value] : given.metrics) {
        if (name.find("clip_ratio") != std::string::npos) {
          EXPECT_EQ(value, 0) << name;
        }
      }
    }
  }
}

TEST(GrpoLossLaws, OnPolicyGradientIsTheAdvantageForEveryVariant) {
  for (const std::string& loss_type : loss_types()) {
    SCOPED_TRACE(loss_type);
    LossInputs in = testing::make_inputs(at::kDouble, 2);
    in.old_logprobs = in.sampling_logprobs = at::Tensor();
    LossOptions options = options_for(loss_type);
    if (loss_type == "cispo") options.epsilon_high = 5;
    policy_loss(in, options).loss.backward();
    const auto gradient = testing::values_of(in.logprobs.grad()),
               advantages = testing::values_of(in.advantages);
    for (size_t t = 0; t < gradient.size(); ++t) {
      // All positive multiples of -A; the multiple is the reduction's.
      EXPECT_LT(gradient[t] * advantages[t], 0) << t;
      // Tokens of one sequence share it.
      if (t > 0 && advantages[t] == advantages[t - 1]) {
        EXPECT_NEAR(gradient[t], gradient[t - 1], 1e-15);
      }
    }
  }
}

TEST(GrpoLossLaws, NoLossTokensGiveZeroWithAGradient) {
  for (const std::string& loss_type : loss_types()) {
    SCOPED_TRACE(loss_type);
    LossInputs in = testing::make_inputs(at::kFloat, 2);
    for (at::Tensor* x : {&in.logprobs, &in.old_logprobs, &in.ref_logprobs, &in.sampling_logprobs,
                          &in.entropies, &in.advantages}) {
      *x = x->detach().slice(0, 0, 0);
    }
    in.logprobs.set_requires_grad(true);
    in.offsets = {0, 0, 0};
    const LossResult result = policy_loss(in, everything(loss_type, ImportanceLevel::kToken));
    EXPECT_EQ(result.loss.item<double>(), 0);
    result.loss.backward();
    for (const auto& [name, value] : result.metrics) EXPECT_TRUE(std::isfinite(value)) << name;
  }
}

TEST(GrpoLossLaws, ExtremeRatiosStayFinite) {
  for (const std::string& loss_type : loss_types()) {
    SCOPED_TRACE(loss_type);
    LossInputs in = testing::make_inputs(at::kFloat, 2);
    in.old_logprobs = in.logprobs.detach() - 200;
    in.ref_logprobs = in.logprobs.detach() + 200;
    in.advantages = at::zeros_like(in.advantages);
    LossOptions options = options_for(loss_type);
    const LossResult result = policy_loss(in, options);
    EXPECT_EQ(result.loss.item<double>(), 0);
    result.loss.backward();
    EXPECT_TRUE(in.logprobs.grad().isfinite().all().item<bool>());
    options.beta = 0.01;
    options.use_bias_correction_kl = false;
    EXPECT_TRUE(policy_loss(in, options).loss.isfinite().item<bool>());
  }
}

TEST(GrpoLossLaws, SequenceLevelGspoIsGrpoAtSequenceLevel) {
  const LossInputs in = testing::make_inputs(at::kDouble, 4);
  LossOptions gspo = paper_defaults("gspo"), grpo = gspo;
  grpo.loss_type = "grpo";
  EXPECT_EQ(policy_loss(in, gspo).loss.item<double>(), policy_loss(in, grpo).loss.item<double>());
  EXPECT_EQ(gspo.importance_sampling_level, ImportanceLevel::kSequence);
}

// Plain loops over sequences: l_i of (log-ratio sum, advantage, KL sum), averaged over five
// sequences.
template <typename SequenceLoss>
double by_sequence(const LossInputs& in, SequenceLoss loss) {
  const auto lp = testing::values_of(in.logprobs), old = testing::values_of(in.old_logprobs);
  const auto ref = testing::values_of(in.ref_logprobs),
             advantages = testing::values_of(in.advantages);
  double total = 0;
  for (size_t i = 0; i + 1 < in.offsets.size(); ++i) {
    if (in.offsets[i] == in.offsets[i + 1]) continue;
    double ratio = 0, drift = 0;
    for (int32_t t = in.offsets[i]; t < in.offsets[i + 1]; ++t)
      ratio += lp[t] - old[t], drift += lp[t] - ref[t];
    total += loss(std::exp(ratio), advantages[in.offsets[i]], drift);
  }
  return total / in.normalizer.sequences;
}

TEST(GrpoLossLaws, RlooAndR1TakeTheProductOfRatios) {
  const LossInputs in = testing::make_inputs(at::kDouble, 4);
  LossOptions options = paper_defaults("rloo");
  const auto clipped = [](double w, double a, double low, double high) {
    return -std::min(w * a, std::clamp(w, low, high) * a);
  };
  EXPECT_NEAR(policy_loss(in, options).loss.item<double>(),
              by_sequence(in, [&](double w, double a, double) { return clipped(w, a, 0.8, 1.2); }),
              1e-12);
  options = paper_defaults("r1");
  options.epsilon = 0.3;
  options.beta = 0.5;
  const double want = by_sequence(in, [&](double w, double a, double d) {
    return clipped(w, a, 0.7, 1.3) + 0.5 * (std::exp(-d) + d - 1);
  });
  EXPECT_NEAR(policy_loss(in, options).loss.item<double>(), want, 1e-12);
}

TEST(GrpoLossLaws, OptionsOutOfRangeAreTheUsersErrors) {
  const LossInputs in = testing::make_inputs(at::kDouble, 4);
  const auto message = [&](auto change) -> std::string {
    LossOptions options;
    change(options);
    try {
      policy_loss(in, options);
    } catch (const core::UserError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message([](LossOptions& o) { o.loss_type = "dappo"; }),
            "loss_type: unknown loss 'dappo', did you mean 'dapo'?");
  EXPECT_NE(message([](LossOptions& o) { o.epsilon = -0.2; }).find("epsilon: found -0.2"),
            std::string::npos);
  EXPECT_NE(
      message([](LossOptions& o) { o.top_entropy_quantile = 0; }).find("top_entropy_quantile"),
      std::string::npos);
  EXPECT_NE(message([](LossOptions& o) { o.delta = 0; }).find("delta"), std::string::npos);
  LossInputs corrected = in;
  corrected.importance_ratios = at::ones_like(in.advantages);
  EXPECT_THROW(policy_loss(corrected, options_for("vespo")), core::UserError);
  EXPECT_THROW(importance_level_from("tokens"), core::UserError);
  EXPECT_THROW(importance_correction_from("sequence_maks"), core::UserError);
}

TEST(GrpoLossLaws, WrongShapesAreOurErrors) {
  const LossInputs good = testing::make_inputs(at::kDouble, 4);
  const auto broken = [&](auto change) {
    LossInputs in = good;
    change(in);
    EXPECT_THROW(policy_loss(in, everything("dapo", ImportanceLevel::kToken)), core::InternalError);
  };
  broken([](LossInputs& in) { in.advantages = in.advantages.slice(0, 1); });
  broken([](LossInputs& in) { in.old_logprobs = in.old_logprobs.to(at::kFloat); });
  broken([](LossInputs& in) { in.ref_logprobs = at::Tensor(); });
  broken([](LossInputs& in) { in.entropies = at::Tensor(); });
  broken([](LossInputs& in) { in.offsets.back() -= 1; });
  broken([](LossInputs& in) { in.logprobs = in.logprobs.detach().to(at::kBFloat16); });
}

TEST(GrpoLossLaws, EveryVariantHasPaperDefaultsThatRun) {
  const LossInputs in = testing::make_inputs(at::kDouble, 4);
  for (const std::string& loss_type : loss_types()) {
    const LossOptions options = paper_defaults(loss_type);
    EXPECT_EQ(options.loss_type, loss_type);
    EXPECT_TRUE(policy_loss(in, options).loss.isfinite().item<bool>()) << loss_type;
  }
  EXPECT_EQ(paper_defaults("dapo").epsilon_high, 0.28);
  EXPECT_EQ(paper_advantages("dr_grpo").scale_rewards, ScaleRewards::kNone);
  EXPECT_EQ(paper_advantages("rloo").estimator, Estimator::kRloo);
}

}  // namespace
}  // namespace ponder::grpo
