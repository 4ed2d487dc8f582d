// Laws and edges of the advantages; TRL's own numbers are in advantage_cases_test.cpp.
#include "grpo/advantage.h"

#include <cmath>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ponder::grpo {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::Pointwise;
using Rewards = std::vector<std::vector<std::optional<double>>>;

std::vector<data::ScoredGroup> groups_of(const Rewards& rewards) {
  std::vector<data::ScoredGroup> groups;
  for (const auto& row : rewards) {
    data::Group group;
    group.completions.resize(row.size());
    std::vector<data::Score> scores(row.size());
    for (size_t i = 0; i < row.size(); ++i) scores[i].value = row[i];
    groups.emplace_back(group, scores);
  }
  return groups;
}

std::vector<std::vector<float>> advantages(const Rewards& rewards,
                                           const AdvantageOptions& options = {}) {
  return compute_advantages(groups_of(rewards), options).values;
}

const Estimator kEstimators[] = {Estimator::kGroup, Estimator::kRloo, Estimator::kReinforcePlusPlus,
                                 Estimator::kReinforcePlusPlusBaseline};
const Rewards kMixed = {{0.3, 1.2, std::nullopt, -0.4}, {1.0, 0.0, 0.0, 2.5, 0.25}};

TEST(GrpoAdvantage, SumsToZeroOverItsBaseline) {
  for (const ScaleRewards scale :
       {ScaleRewards::kGroup, ScaleRewards::kBatch, ScaleRewards::kNone}) {
    for (const auto& group : advantages(kMixed, {.scale_rewards = scale, .reward_weights = {}})) {
      EXPECT_NEAR(std::accumulate(group.begin(), group.end(), 0.0), 0, 1e-6);
    }
  }
  for (const Estimator estimator : kEstimators) {
    double sum = 0;
    for (const auto& group : advantages(kMixed, {.estimator = estimator, .reward_weights = {}})) {
      sum = std::accumulate(group.begin(), group.end(), sum);
    }
    EXPECT_NEAR(sum, 0, 1e-5);
  }
}

TEST(GrpoAdvantage, ScaledByADeviationForgetsTheRewardsScaleAndOffset) {
  Rewards scaled = kMixed;
  for (auto& row : scaled) {
    for (auto& reward : row) {
      if (reward) reward = 1000 * *reward + 7;
    }
  }
  for (const Estimator estimator : {Estimator::kGroup, Estimator::kReinforcePlusPlusBaseline}) {
    const AdvantageOptions options{.estimator = estimator, .reward_weights = {}};
    const auto plain = advantages(kMixed, options), other = advantages(scaled, options);
    // 1e-4 beside the deviation is all that is left of the scale.
    for (size_t g = 0; g < plain.size(); ++g)
      EXPECT_THAT(other[g], Pointwise(FloatNear(1e-3F), plain[g]));
  }
}

TEST(GrpoAdvantage, IsZeroWhereThereIsNothingToCompare) {
  const Rewards lonely[] = {
      {{0.7}}, {{1.0, 1.0, 1.0}}, {{std::nullopt, 0.7}}, {{std::nullopt, std::nullopt}}};
  const auto expect_zeros = [](const Rewards& rewards, const AdvantageOptions& options) {
    const std::vector<std::vector<float>> got = advantages(rewards, options);
    for (const float a : got[0]) EXPECT_EQ(a, 0);
  };
  for (const Rewards& rewards : lonely) {
    for (const Estimator estimator : kEstimators) {
      expect_zeros(rewards, {.estimator = estimator, .reward_weights = {}});
    }
    for (const ScaleRewards scale : {ScaleRewards::kBatch, ScaleRewards::kNone}) {
      expect_zeros(rewards, {.scale_rewards = scale, .reward_weights = {}});
    }
  }
  EXPECT_TRUE(advantages({}).empty());
  EXPECT_THAT(advantages({{}}), ElementsAre(ElementsAre()));
}

TEST(GrpoAdvantage, LeavesNullScoresOutOfTheBaseline) {
  const auto with = advantages({{1.0, std::nullopt, 0.0, 1.0}})[0],
             without = advantages({{1.0, 0.0, 1.0}})[0];
  EXPECT_THAT(with, ElementsAre(without[0], 0.0F, without[1], without[2]));
}

TEST(GrpoAdvantage, OfDrGrpoIsTheRewardLessTheMean) {
  const auto got = advantages({{1, 0, 0, 1}, {2, 4}},
                              {.scale_rewards = ScaleRewards::kNone, .reward_weights = {}});
  EXPECT_THAT(got, ElementsAre(ElementsAre(0.5F, -0.5F, -0.5F, 0.5F), ElementsAre(-1.0F, 1.0F)));
}

TEST(GrpoAdvantage, OfRlooLeavesOneOut) {
  const Rewards rewards = {{0.3, 1.2, std::nullopt, -0.4}};
  const auto got = advantages(rewards, {.estimator = Estimator::kRloo, .reward_weights = {}})[0];
  EXPECT_THAT(got, Pointwise(FloatNear(1e-6F),
                             std::vector<float>{0.3F - (1.2F - 0.4F) / 2, 1.2F - (0.3F - 0.4F) / 2,
                                                0.0F, -0.4F - (0.3F + 1.2F) / 2}));
}

TEST(GrpoAdvantage, OfReinforcePlusPlusComparesTheWholeBatch) {
  const auto got = advantages({{1, 1}, {0, 2}},
                              {.estimator = Estimator::kReinforcePlusPlus, .reward_weights = {}});
  const auto want = static_cast<float>(1 / (std::sqrt(2.0 / 3) + 1e-4));
  EXPECT_THAT(got[0], ElementsAre(0.0F, 0.0F));
  EXPECT_THAT(got[1], ElementsAre(FloatNear(-want, 1e-6F), FloatNear(want, 1e-6F)));
}

TEST(GrpoAdvantage, TakesPenaltiesFromTheRewardButNotFromItsMetrics) {
  const std::vector<std::vector<double>> penalties = {{0.5, 0.0}};
  const auto groups = groups_of({{1.0, 1.0}});
  const AdvantageOptions options{.scale_rewards = ScaleRewards::kNone, .reward_weights = {}};
  const Advantages got = compute_advantages(groups, options, penalties);
  EXPECT_THAT(got.values[0], ElementsAre(-0.25F, 0.25F));
  EXPECT_EQ(got.metrics.at("reward"), 1.0);
  const std::vector<std::vector<double>> short_ones = {{0.5}};
  EXPECT_THROW(compute_advantages(groups, options, short_ones), core::InternalError);
}

TEST(GrpoAdvantage, CountsGroupsWithoutSpreadAndNullScores) {
  const Advantages got =
      compute_advantages(groups_of({{1, 1}, {0, 1}, {0, 0}, {std::nullopt, 1}}), {});
  EXPECT_DOUBLE_EQ(got.metrics.at("frac_reward_zero_std"), 0.5);
  EXPECT_DOUBLE_EQ(got.metrics.at("frac_reward_null"), 0.125);
}

TEST(GrpoAdvantage, OneCompletionAloneHasNoSpread) {
  for (const ScaleRewards scale :
       {ScaleRewards::kGroup, ScaleRewards::kBatch, ScaleRewards::kNone}) {
    const Advantages got =
        compute_advantages(groups_of({{0.5}}), {.scale_rewards = scale, .reward_weights = {}});
    EXPECT_DOUBLE_EQ(got.metrics.at("frac_reward_zero_std"), 1);
  }
}

TEST(GrpoAdvantage, HasSignalWhereTwoScoresDiffer) {
  const auto groups = groups_of({{1, 1, 0}, {1, 1}, {1, std::nullopt, 1}, {std::nullopt}, {}});
  std::vector<bool> got;
  for (const auto& group : groups) got.push_back(has_signal(group));
  EXPECT_THAT(got, ElementsAre(true, false, false, false, false));
}

TEST(GrpoAdvantage, UnknownWordsAreAnsweredWithTheNearest) {
  try {
    scale_rewards_from("groups");
    FAIL();
  } catch (const core::UserError& error) {
    EXPECT_STREQ(error.what(), "scale_rewards: unknown word 'groups', did you mean 'group'?");
  }
  EXPECT_THROW(aggregation_from("sum"), core::UserError);
  EXPECT_THROW(estimator_from("ppo"), core::UserError);
  EXPECT_EQ(estimator_from("rloo"), Estimator::kRloo);
}

}  // namespace
}  // namespace ponder::grpo
