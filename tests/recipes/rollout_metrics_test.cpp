#include "recipes/rollout_metrics.h"

#include <gtest/gtest.h>

namespace ponder::recipes {
namespace {

data::ScoredGroup group(const std::string& domain, const std::vector<int>& passed,
                        int64_t version) {
  data::Group group;
  group.prompt.columns = {{"domain", domain}};
  std::vector<data::Score> scores;
  for (const int p : passed) {
    data::Completion completion;
    completion.token_ids.resize(p > 0 ? 4 : 2);
    completion.finish_reason = data::FinishReason::kStop;
    completion.policy_version = version;
    group.completions.push_back(completion);
    data::Score score;
    if (p >= 0) score.value = p;
    score.status = p > 0    ? data::ScoreStatus::kOk
                   : p == 0 ? data::ScoreStatus::kWrong
                            : data::ScoreStatus::kTimeout;
    scores.push_back(score);
  }
  return {group, scores};
}

// All ways to choose k of n completions, the first c of which pass, counted one by one.
double brute_pass_at_k(int n, int c, int k) {
  double hits = 0, all = 0;
  for (int set = 0; set < 1 << n; ++set) {
    if (__builtin_popcount(static_cast<unsigned>(set)) != k) continue;
    ++all;
    hits += (set & ((1 << c) - 1)) != 0 ? 1 : 0;
  }
  return hits / all;
}

TEST(PassAtK, IsTheShareOfSubsetsWithAPass) {
  for (int n = 1; n <= 8; ++n) {
    for (int c = 0; c <= n; ++c) {
      for (int k = 1; k <= n; ++k)
        EXPECT_NEAR(pass_at_k(n, c, k), brute_pass_at_k(n, c, k), 1e-12)
            << n << " " << c << " " << k;
    }
  }
}

TEST(RolloutMetrics, PassesAreOverJudgedCompletions) {
  const auto metrics =
      rollout_metrics({group("a", {1, 0, 0, 0}, 0), group("a", {1, 1, -1, 1}, 0)}, "");
  EXPECT_DOUBLE_EQ(metrics.at("pass@1"), (0.25 + 1.0) / 2);
  EXPECT_DOUBLE_EQ(metrics.at("pass@2"), (0.5 + 1.0) / 2);
  EXPECT_DOUBLE_EQ(metrics.at("pass@4"), 1.0);  // of the one group where four were judged
  EXPECT_FALSE(metrics.contains("pass@8"));
  EXPECT_DOUBLE_EQ(metrics.at("rewards/status/timeout"), 1.0 / 8);
}

TEST(RolloutMetrics, DomainsAreToldApart) {
  const auto metrics = rollout_metrics(
      {group("sums", {1, 0}, 0), group("logic", {1, 1}, 0), group("logic", {0, -1}, 0)}, "domain");
  EXPECT_DOUBLE_EQ(metrics.at("domain/sums/share"), 2.0 / 6);
  EXPECT_DOUBLE_EQ(metrics.at("domain/sums/pass@1"), 0.5);
  EXPECT_DOUBLE_EQ(metrics.at("domain/logic/pass@1"), 2.0 / 3);
  EXPECT_DOUBLE_EQ(metrics.at("domain/logic/reward"), 2.0 / 3);
  EXPECT_DOUBLE_EQ(metrics.at("domain/logic/mean_length"), 3.0);
  const auto other = rollout_metrics({group("sums", {1, 0}, 0)}, "source");
  EXPECT_DOUBLE_EQ(other.at("domain/none/share"), 1.0);
}

TEST(Staleness, CountsUpdatesBehind) {
  const auto metrics = staleness({group("a", {1, 1}, 7), group("a", {1, 1}, 3)}, 8);
  EXPECT_DOUBLE_EQ(metrics.at("staleness/mean"), 3.0);
  EXPECT_DOUBLE_EQ(metrics.at("staleness/max"), 5.0);
}

}  // namespace
}  // namespace ponder::recipes
