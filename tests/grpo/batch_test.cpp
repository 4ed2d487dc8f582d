// Packing, selecting, splitting and balancing; the KL that goes into rewards.
#include "grpo/batch.h"

#include <cmath>
#include <numeric>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "grpo/kl.h"
#include "grpo/loss.h"
#include "grpo/policy_input.h"
#include "tests/grpo/support.h"

namespace ponder::grpo {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

std::vector<std::vector<float>> counted(const std::vector<data::ScoredGroup>& groups) {
  std::vector<std::vector<float>> advantages;
  float next = 1;
  for (const auto& group : groups) {
    auto& row = advantages.emplace_back();
    for (size_t i = 0; i < group.scores.size(); ++i) row.push_back(next++);
  }
  return advantages;
}

TrainBatch three_sequences(const PackOptions& options = {}) {
  auto groups = testing::make_groups({{2, 3}, {1}}, 1);  // prompts of 2 and 3 tokens
  groups[0].group.completions[1].finish_reason = data::FinishReason::kLength;
  return pack(groups, counted(groups), options);
}

TEST(GrpoBatch, LaysPromptAndCompletionEndToEnd) {
  const TrainBatch batch = three_sequences();
  EXPECT_THAT(batch.cu_seqlens, ElementsAre(0, 4, 9, 13));
  EXPECT_THAT(batch.prompt_lengths, ElementsAre(2, 2, 3));
  EXPECT_THAT(batch.groups, ElementsAre(0, 0, 1));
  EXPECT_THAT(testing::values_of(batch.token_ids),
              ElementsAre(0, 0, 100, 101, 0, 0, 100, 101, 102, 1, 1, 1, 100));
  EXPECT_THAT(testing::values_of(batch.positions),
              ElementsAre(0, 1, 2, 3, 0, 1, 2, 3, 4, 0, 1, 2, 3));
  EXPECT_THAT(testing::values_of(batch.loss_mask),
              ElementsAre(0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 1));
  EXPECT_THAT(testing::values_of(batch.advantages),
              ElementsAre(0, 0, 1, 1, 0, 0, 2, 2, 2, 0, 0, 0, 3));
  EXPECT_EQ(batch.num_loss_tokens, 6);
  EXPECT_EQ(batch.token_ids.scalar_type(), at::kLong);
  EXPECT_EQ(batch.loss_mask.scalar_type(), at::kBool);
  EXPECT_EQ(batch.old_logprobs.scalar_type(), at::kFloat);
  EXPECT_FALSE(batch.ref_logprobs.defined());
  const auto groups = testing::make_groups({{2, 3}, {1}}, 1);
  EXPECT_EQ(batch.old_logprobs[3].item<float>(), groups[0].group.completions[0].logprobs[1]);
}

TEST(GrpoBatch, MasksTruncatedCompletionsButKeepsTheirSequence) {
  const TrainBatch batch = three_sequences({.mask_truncated_completions = true});
  EXPECT_EQ(batch.num_sequences(), 3);
  EXPECT_THAT(loss_offsets(batch), ElementsAre(0, 2, 2, 3));
  EXPECT_EQ(batch.num_loss_tokens, 3);
  EXPECT_EQ(normalizer_of(batch).sequences, 3);
}

TEST(GrpoBatch, MasksWhatCouldNotBeJudged) {
  auto groups = testing::make_groups({{2, 3}, {1}}, 1);
  groups[0].scores[0].value.reset();
  const TrainBatch batch = pack(groups, counted(groups));
  EXPECT_EQ(batch.num_sequences(), 3);
  EXPECT_THAT(testing::values_of(batch.loss_mask),
              ElementsAre(0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 1));
}

TEST(GrpoBatch, DropsWhatCannotMoveThePolicy) {
  auto groups = testing::make_groups({{2, 3}, {1}}, 1);
  const TrainBatch batch = pack(groups, {{0, 1}, {0}}, {.drop_zero_advantages = true});
  EXPECT_EQ(batch.num_sequences(), 1);
  EXPECT_EQ(batch.num_loss_tokens, 3);
}

TEST(GrpoBatch, OfNothingIsEmptyAndHasAZeroLoss) {
  const TrainBatch batch = pack({}, {});
  EXPECT_EQ(batch.num_tokens(), 0);
  EXPECT_TRUE(split(batch, 10).empty());
  LossInputs in = loss_inputs(batch, {}, normalizer_of(batch), {});
  in.logprobs = at::empty({0}).requires_grad_(true);
  EXPECT_EQ(policy_loss(in, {}).loss.item<double>(), 0);
}

TEST(GrpoBatch, RefusesWhatDoesNotFit) {
  auto groups = testing::make_groups({{2, 3}}, 1);
  EXPECT_THROW(pack(groups, {{1}}), core::InternalError);
  EXPECT_THROW(pack(groups, {}), core::InternalError);
  groups[0].group.completions[0].logprobs.pop_back();
  EXPECT_THROW(pack(groups, {{1, 2}}), core::InternalError);
  const std::vector<int32_t> wrong{3};
  EXPECT_THROW(select(three_sequences(), wrong), core::InternalError);
}

// Token t of completion i was drawn from 50 + i .. 50 + i + t and went to experts (i, t).
std::vector<data::ScoredGroup> recorded_groups() {
  auto groups = testing::make_groups({{2, 3}, {1}}, 1);
  int16_t i = 0;
  for (auto& group : groups) {
    for (data::Completion& completion : group.group.completions) {
      completion.experts.assign(2 * group.group.prompt.token_ids.size(), -1);
      for (int16_t t = 0; t < std::ssize(completion.token_ids); ++t) {
        for (int16_t k = 0; k <= t; ++k) completion.kept_ids.push_back(50 + i + k);
        completion.kept_counts.push_back(t + 1);
        completion.experts.insert(completion.experts.end(), {i, t});
      }
      completion.sampling_logprobs.assign(completion.token_ids.size(), -0.25F);
      ++i;
    }
  }
  return groups;
}

TEST(GrpoBatch, CarriesMasksAndRoutingWithTheirTokens) {
  const auto groups = recorded_groups();
  const TrainBatch batch = pack(groups, counted(groups));
  // The sampler's log-probs are then those of the distribution it drew from.
  EXPECT_THAT(testing::values_of(batch.old_logprobs),
              ElementsAre(0, 0, -0.25, -0.25, 0, 0, -0.25, -0.25, -0.25, 0, 0, 0, -0.25));
  EXPECT_THAT(testing::values_of(batch.kept_counts),
              ElementsAre(0, 0, 1, 2, 0, 0, 1, 2, 3, 0, 0, 0, 1));
  const TrainBatch two = select(batch, std::vector<int32_t>{2, 0});
  EXPECT_THAT(testing::values_of(two.kept_counts), ElementsAre(0, 0, 0, 1, 0, 0, 1, 2));
  EXPECT_THAT(testing::values_of(two.kept_ids), ElementsAre(52, 50, 50, 51));
  EXPECT_THAT(testing::values_of(two.experts),
              ElementsAre(-1, -1, -1, -1, -1, -1, 2, 0, -1, -1, -1, -1, 0, 0, 0, 1));
  // Seen by the policy: the prompt once, then the completions' own.
  EXPECT_THAT(testing::values_of(policy_input(split(batch, 100)[0]).experts.narrow(0, 2, 5)),
              ElementsAre(0, 0, 0, 1, 1, 0, 1, 1, 1, 2));
}

TEST(GrpoBatch, RefusesMasksOfSomeCompletionsAlone) {
  auto groups = recorded_groups();
  groups[1].group.completions[0].kept_counts.clear();
  groups[1].group.completions[0].kept_ids.clear();
  EXPECT_THROW(pack(groups, counted(groups)), core::InternalError);
}

TEST(GrpoBatch, SplitKeepsOrderAndTheTokenBudget) {
  const TrainBatch batch = three_sequences();  // 4, 5 and 4 tokens
  struct Case {
    int64_t budget;
    std::vector<int64_t> tokens;
  };
  const Case cases[] = {{1, {4, 5, 4}}, {8, {4, 5, 4}}, {9, {9, 4}},
                        {12, {9, 4}},   {13, {13}},     {100, {13}}};
  for (const Case& c : cases) {
    std::vector<int64_t> tokens;
    std::vector<at::Tensor> ids;
    for (const TrainBatch& part : split(batch, c.budget, Prompts::kRepeated)) {
      tokens.push_back(part.num_tokens());
      ids.push_back(part.token_ids);
    }
    EXPECT_THAT(tokens, ElementsAreArray(c.tokens)) << c.budget;
    EXPECT_TRUE(at::equal(at::cat(ids), batch.token_ids));
  }
}

// Prompts of 2 and 3 tokens; a group's prompt counts once in each micro-batch.
TEST(GrpoBatch, SplitCountsASharedPromptOnce) {
  const auto groups = testing::make_groups({{4, 3, 5}, {2, 6}}, 1);
  const TrainBatch batch = pack(groups, counted(groups));
  const struct {
    int64_t budget;
    std::vector<int64_t> sequences;
  } cases[] = {{9, {2, 1, 1, 1}}, {14, {3, 2}}, {19, {4, 1}}, {25, {5}}};
  for (const auto& c : cases) {
    std::vector<int64_t> sequences;
    for (const TrainBatch& part : split(batch, c.budget)) sequences.push_back(part.num_sequences());
    EXPECT_THAT(sequences, ElementsAreArray(c.sequences)) << c.budget;
  }
}

// Token 100 + t stands at place t of each completion; prompts are 2 tokens 0 and 3 tokens 1.
TEST(PolicyInput, HoldsEachPromptOnce) {
  const auto groups = testing::make_groups({{2, 1}, {2}, {0, 1}}, 1);
  const TrainBatch batch = pack(groups, counted(groups));
  const PolicyInput input = policy_input(batch);
  const auto list = [](const at::Tensor& x) {
    return std::vector<int64_t>(x.const_data_ptr<int64_t>(),
                                x.const_data_ptr<int64_t>() + x.numel());
  };
  EXPECT_THAT(list(input.token_ids),
              ElementsAreArray({0, 0, 100, 101, 100, 1, 1, 1, 100, 101, 2, 2, 2, 2, 100}));
  EXPECT_THAT(list(input.positions),
              ElementsAreArray({0, 1, 2, 3, 2, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4}));
  EXPECT_THAT(input.cu_seqlens, ElementsAreArray({0, 2, 4, 5, 10, 14, 14, 15}));
  EXPECT_THAT(input.parents, ElementsAreArray({-1, 0, 0, -1, -1, 4, 4}));
  EXPECT_THAT(list(input.states), ElementsAreArray({1, 2, 1, 7, 8, 13}));
}

TEST(PolicyInput, CanRepeatPrompts) {
  const auto groups = testing::make_groups({{2, 1}}, 1);
  const TrainBatch batch = pack(groups, counted(groups));
  const PolicyInput input = policy_input(batch, Prompts::kRepeated);
  EXPECT_TRUE(at::equal(input.token_ids, batch.token_ids));
  EXPECT_EQ(input.cu_seqlens, batch.cu_seqlens);
  EXPECT_TRUE(at::equal(input.states, loss_indices(batch) - 1));
}

TEST(GrpoBatch, RandomMiniBatchesAreEvenAndHoldEachSequenceOnce) {
  const auto groups = testing::make_groups({{1, 1, 1}, {1, 1, 1, 1}}, 1);
  const TrainBatch batch = pack(groups, counted(groups));
  std::vector<int64_t> sizes;
  std::vector<float> seen;
  for (const TrainBatch& part : split_at_random(batch, 3, 7)) {
    sizes.push_back(part.num_sequences());
    // Groups stand together: numbers never fall within a part.
    EXPECT_TRUE(std::is_sorted(part.groups.begin(), part.groups.end()));
    const at::Tensor trained = part.advantages.index_select(0, loss_indices(part));
    for (int64_t i = 0; i < trained.numel(); ++i) seen.push_back(trained[i].item<float>());
  }
  EXPECT_THAT(sizes, ElementsAre(3, 2, 2));
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(std::adjacent_find(seen.begin(), seen.end()), seen.end());
  EXPECT_EQ(seen.size(), 7U);
  EXPECT_EQ(split_at_random(batch, 20, 7).size(), 7U);
}

TEST(GrpoBatch, RandomMiniBatchesAreAFunctionOfTheSeed) {
  const auto groups = testing::make_groups({std::vector<int>(20, 1)}, 1);
  const TrainBatch batch = pack(groups, counted(groups));
  const auto first_of = [&](uint64_t seed) {
    return split_at_random(batch, 2, seed)[0].advantages;
  };
  EXPECT_TRUE(at::equal(first_of(1), first_of(1)));
  EXPECT_FALSE(at::equal(first_of(1), first_of(2)));
  EXPECT_TRUE(at::equal(split_at_random(batch, 1, 1)[0].token_ids, batch.token_ids));
}

TEST(GrpoBatch, SelectsSequencesInTheOrderAsked) {
  TrainBatch batch = three_sequences();
  batch.ref_logprobs = batch.old_logprobs + 1;
  const std::vector<int32_t> order{2, 0};
  const TrainBatch got = select(batch, order);
  EXPECT_THAT(got.cu_seqlens, ElementsAre(0, 4, 8));
  EXPECT_THAT(testing::values_of(got.advantages), ElementsAre(0, 0, 0, 3, 0, 0, 1, 1));
  EXPECT_TRUE(at::equal(got.ref_logprobs, got.old_logprobs + 1));
  EXPECT_EQ(got.num_loss_tokens, 3);
}

TEST(GrpoBatch, BalancesTokensOverWorkers) {
  const auto groups =
      testing::make_groups({{50, 3, 20, 18, 7, 40, 2, 30}}, 1);  // and a prompt of 2
  const TrainBatch batch = pack(groups, counted(groups));
  const auto shares = balance(batch, 3);
  std::vector<int32_t> all;
  std::vector<int64_t> loads;
  for (const auto& share : shares) {
    all.insert(all.end(), share.begin(), share.end());
    // The group's prompt of 2 is run once.
    loads.push_back(select(batch, share).num_tokens() - 2 * (std::ssize(share) - 1));
    EXPECT_TRUE(std::is_sorted(share.begin(), share.end()));
  }
  std::sort(all.begin(), all.end());
  EXPECT_THAT(all, ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_LE(
      *std::max_element(loads.begin(), loads.end()) - *std::min_element(loads.begin(), loads.end()),
      7);
  EXPECT_EQ(balance(batch, 20).size(), 20U);
}

TEST(GrpoBatch, AWorkerKeepsAGroupWhosePromptCostsMoreThanItsCompletions) {
  TrainBatch batch;
  batch.cu_seqlens = {0, 110, 220, 330, 440};
  batch.prompt_lengths = {100, 100, 100, 100};
  batch.groups = {0, 0, 1, 1};
  EXPECT_THAT(balance(batch, 2), ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3)));
  // One long group on two workers: its prompt twice costs less than all on one.
  batch.cu_seqlens = {0, 200, 400, 600, 800};
  batch.groups = {0, 0, 0, 0};
  EXPECT_EQ(balance(batch, 2)[0].size(), 2U);
}

TEST(GrpoKl, EstimatorsHaveTheirFormulas) {
  const at::Tensor logprobs = at::tensor({-1.0, -2.0, -0.5}, at::kDouble),
                   ref = at::tensor({-1.5, -1.0, -0.5}, at::kDouble);
  const std::vector<double> d{0.5, -1.0, 0.0};
  const auto k1 = testing::values_of(kl_estimate(logprobs, ref, KlEstimator::kK1));
  const auto k2 = testing::values_of(kl_estimate(logprobs, ref, KlEstimator::kK2));
  const auto k3 = testing::values_of(kl_estimate(logprobs, ref, KlEstimator::kK3));
  for (size_t i = 0; i < d.size(); ++i) {
    EXPECT_NEAR(k1[i], d[i], 1e-15);
    EXPECT_NEAR(k2[i], d[i] * d[i] / 2, 1e-15);
    EXPECT_NEAR(k3[i], std::exp(-d[i]) - 1 + d[i], 1e-15);
  }
  EXPECT_THROW(kl_estimator_from("k4"), core::UserError);
}

TEST(GrpoKl, InTheRewardIsSummedOverLossTokensByGroup) {
  TrainBatch batch = three_sequences({.mask_truncated_completions = true});
  batch.ref_logprobs = batch.old_logprobs - 0.25;  // prompt tokens too: they must not count
  const auto penalties = kl_penalties(batch, 2.0, KlEstimator::kK1);
  ASSERT_EQ(penalties.size(), 2U);
  EXPECT_THAT(penalties[0], ElementsAre(::testing::DoubleNear(1.0, 1e-6), 0.0));
  EXPECT_THAT(penalties[1], ElementsAre(::testing::DoubleNear(0.5, 1e-6)));
  batch.ref_logprobs = at::Tensor();
  EXPECT_THROW(kl_penalties(batch, 2.0, KlEstimator::kK1), core::InternalError);
}

// REINFORCE++ eq. 8-10 by hand.
TEST(GrpoKl, ReinforcePlusPlusChargesEachTokenTheKlStillToCome) {
  TrainBatch batch = three_sequences();
  batch.ref_logprobs = batch.old_logprobs - 0.5;
  const auto got = testing::values_of(reinforce_plus_plus_token_advantages(batch, 0.1));
  // Rewards 1, 2, 3 less 0.05 for each token from t on.
  const std::vector<double> raw{0.9, 0.95, 1.85, 1.9, 1.95, 2.95};
  const double mean = std::accumulate(raw.begin(), raw.end(), 0.0) / 6;
  double squares = 0;
  for (const double r : raw) squares += (r - mean) * (r - mean);
  const double deviation = std::sqrt(squares / 5) + 1e-4;
  const std::vector<size_t> at{2, 3, 6, 7, 8, 12};
  for (size_t i = 0; i < raw.size(); ++i)
    EXPECT_NEAR(got[at[i]], (raw[i] - mean) / deviation, 1e-5);
  EXPECT_EQ(got[0], 0);
  EXPECT_EQ(got[4], 0);
}

TEST(GrpoMetrics, RefuseToMixKinds) {
  const std::vector<MetricParts> parts{{{"x", {MetricPart::Kind::kMean, 1, 1}}},
                                       {{"x", {MetricPart::Kind::kMax, 1, 0}}}};
  EXPECT_THROW(merge_metrics(parts), core::InternalError);
}

}  // namespace
}  // namespace ponder::grpo
