// TRL's advantages and reward metrics (tests/cases/grpo).
#include <cmath>

#include <gtest/gtest.h>

#include "grpo/advantage.h"
#include "tests/grpo/cases.h"

namespace ponder::grpo {
namespace {

using data::Json;

// Rewards [completions][functions] as groups; a null is a reward that did not apply.
std::vector<data::ScoredGroup> groups_of(const Json& test) {
  const auto size = test["num_generations"].get<size_t>();
  const Json &rewards = test["rewards_per_func"], &weights = test["reward_weights"];
  std::vector<data::ScoredGroup> groups;
  for (size_t begin = 0; begin < rewards.size(); begin += size) {
    data::Group group;
    group.completions.resize(size);
    std::vector<data::Score> scores(size);
    for (size_t i = 0; i < size; ++i) {
      for (size_t k = 0; k < weights.size(); ++k) {
        const Json& reward = rewards[begin + i][k];
        if (reward.is_null()) continue;
        scores[i].parts["r" + std::to_string(k)] = reward.get<double>();
        scores[i].value =
            scores[i].value.value_or(0) + weights[k].get<double>() * reward.get<double>();
      }
    }
    groups.emplace_back(group, scores);
  }
  return groups;
}

AdvantageOptions options_of(const Json& test) {
  AdvantageOptions o;
  o.scale_rewards = scale_rewards_from(test["scale_rewards"]);
  o.multi_objective_aggregation = aggregation_from(test["multi_objective_aggregation"]);
  if (test["trainer"] == "RLOOTrainer") o.estimator = Estimator::kRloo;
  for (size_t k = 0; k < test["reward_weights"].size(); ++k) {
    o.reward_weights["r" + std::to_string(k)] = test["reward_weights"][k].get<double>();
  }
  return o;
}

void expect_case(const Json& test) {
  SCOPED_TRACE(test["name"].get<std::string>());
  const Advantages got = compute_advantages(groups_of(test), options_of(test));
  const Json& want = test["advantages"];
  size_t i = 0;
  for (const auto& group : got.values) {
    for (const float value : group) {
      ASSERT_LT(i, want.size());
      const double w = want[i++].get<double>();
      EXPECT_NEAR(value, w, 1e-5 * std::max(1.0, std::abs(w))) << "completion " << i - 1;
    }
  }
  EXPECT_EQ(i, want.size());
  for (const auto& [name, value] : test["metrics"].items()) {
    if (value.is_null() || !(name.starts_with("reward") || name.starts_with("frac"))) continue;
    ASSERT_TRUE(got.metrics.contains(name)) << name;
    EXPECT_NEAR(got.metrics.at(name), value.get<double>(), 1e-5) << name;
  }
}

TEST(GrpoAdvantageCases, EqualTrl) {
  size_t cases = 0;
  for (const auto& path : testing::case_files("grpo_advantages")) {
    SCOPED_TRACE(path.filename().string());
    const Json file = testing::read_cases(path);
    for (const Json& test : file["cases"]) expect_case(test);
    cases += file["cases"].size();
  }
  EXPECT_GT(cases, 0U) << "no grpo_advantages*.json in " << testing::cases_folder();
}

}  // namespace
}  // namespace ponder::grpo
