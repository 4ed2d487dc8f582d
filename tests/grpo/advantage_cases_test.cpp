// TRL's advantages and reward metrics (tests/cases/grpo).
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <set>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "grpo/advantage.h"
#include "grpo/kl.h"
#include "tests/grpo/cases.h"

namespace ponder::grpo {
namespace {

using data::Json;

// Rewards [completions][functions] as groups; a null is a reward that did not apply. Each is moved
// by up to `jitter` of its size, another way for each `draw`.
std::vector<data::ScoredGroup> groups_of(const Json& test, double jitter = 0, unsigned draw = 0) {
  std::minstd_rand random(draw + 1);
  std::uniform_real_distribution<double> moves(-jitter, jitter);
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
        const double value = reward.get<double>() * (1 + (jitter > 0 ? moves(random) : 0.0));
        scores[i].parts["r" + std::to_string(k)] = value;
        scores[i].value = scores[i].value.value_or(0) + weights[k].get<double>() * value;
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
  o.normalize_advantages = test.value("normalize_advantages", false);
  for (size_t k = 0; k < test["reward_weights"].size(); ++k) {
    o.reward_weights["r" + std::to_string(k)] = test["reward_weights"][k].get<double>();
  }
  return o;
}

// The KL in the reward of RLOOTrainer's cases with a beta, from the file's batch: log-probs [B][T]
// of the old and the reference policy, of completions of `lens` tokens.
std::vector<std::vector<double>> penalties_of(const Json& file, const Json& test) {
  if (test.value("beta", 0.0) == 0) return {};
  std::vector<data::ScoredGroup> groups = groups_of(test);
  std::vector<float> reference;
  size_t b = 0;
  for (data::ScoredGroup& scored : groups) {
    for (data::Completion& completion : scored.group.completions) {
      const Json& batch = file["batch"];
      for (size_t t = 0; t < batch["lens"][b].get<size_t>(); ++t) {
        completion.token_ids.push_back(0);
        completion.logprobs.push_back(batch["old_logps"][b][t].get<float>());
        reference.push_back(batch["ref_logps"][b][t].get<float>());
      }
      const bool truncated = batch["truncated"][b++].get<int>() != 0;
      completion.finish_reason =
          truncated ? data::FinishReason::kLength : data::FinishReason::kStop;
    }
  }
  const std::vector<float> none(test["num_generations"].get<size_t>(), 0.0F);
  TrainBatch batch = pack(groups, std::vector(groups.size(), none),
                          {.mask_truncated_completions = test["mask_truncated_completions"]});
  batch.ref_logprobs = at::tensor(reference);
  return kl_penalties(batch, test["beta"].get<double>(), KlEstimator::kK1);
}

// TRL's numbers are float32: what the last bits of the rewards decide (a group of equal 0.1s has a
// deviation there, and is divided by it) is no more exact than ours are when those bits move.
struct Slack {
  double advantages = 0;
  double metrics = 0;         // of means and deviations
  std::set<double> zero_std;  // what frac_reward_zero_std may be
};

Slack slack_of(const Json& test, const Advantages& exact,
               const std::vector<std::vector<double>>& penalties) {
  Slack slack;
  slack.zero_std.insert(exact.metrics.at("frac_reward_zero_std"));
  for (unsigned draw = 0; draw < 8; ++draw) {
    const Advantages moved =
        compute_advantages(groups_of(test, 0x1p-23, draw), options_of(test), penalties);
    slack.zero_std.insert(moved.metrics.at("frac_reward_zero_std"));
    for (size_t g = 0; g < exact.values.size(); ++g) {
      for (size_t i = 0; i < exact.values[g].size(); ++i) {
        slack.advantages =
            std::max<double>(slack.advantages, std::abs(moved.values[g][i] - exact.values[g][i]));
      }
    }
  }
  for (const Json& row : test["rewards_per_func"]) {
    for (const Json& reward : row) {
      if (reward.is_number())
        slack.metrics = std::max(slack.metrics, 0x1p-20 * std::abs(reward.get<double>()));
    }
  }
  return slack;
}

void expect_metrics(const Json& test, const Advantages& got, const Slack& slack) {
  for (const auto& [name, value] : test["metrics"].items()) {
    if (!(name.starts_with("reward") || name.starts_with("frac"))) continue;
    if (value.is_null()) {
      EXPECT_FALSE(got.metrics.contains(name)) << name << " is not a number in TRL";
      continue;
    }
    ASSERT_TRUE(got.metrics.contains(name)) << name;
    const double want = value.get<double>();
    if (name == "frac_reward_zero_std") {
      double nearest = std::numeric_limits<double>::infinity();
      for (const double may : slack.zero_std) nearest = std::min(nearest, std::abs(may - want));
      EXPECT_LT(nearest, 1e-5) << name;
    } else {
      EXPECT_NEAR(got.metrics.at(name), want, 1e-5 + slack.metrics) << name;
    }
  }
}

void expect_case(const Json& file, const Json& test) {
  SCOPED_TRACE(test["name"].get<std::string>());
  const auto penalties = penalties_of(file, test);
  const Advantages got = compute_advantages(groups_of(test), options_of(test), penalties);
  const Slack slack = slack_of(test, got, penalties);
  const Json& want = test["advantages"];
  size_t i = 0;
  for (const auto& group : got.values) {
    for (const float value : group) {
      ASSERT_LT(i, want.size());
      const double w = want[i].get<double>();
      EXPECT_NEAR(value, w, 1e-5 * std::max(1.0, std::abs(w)) + slack.advantages)
          << "completion " << i;
      ++i;
    }
  }
  EXPECT_EQ(i, want.size());
  expect_metrics(test, got, slack);
}

TEST(GrpoAdvantageCases, EqualTrl) {
  size_t cases = 0;
  for (const auto& path : testing::case_files("grpo_advantages")) {
    SCOPED_TRACE(path.filename().string());
    const Json file = testing::read_cases(path);
    for (const Json& test : file["cases"]) expect_case(file, test);
    cases += file["cases"].size();
  }
  EXPECT_GT(cases, 0U) << "no grpo_advantages*.json in " << testing::cases_folder();
}

}  // namespace
}  // namespace ponder::grpo
