#include "rollout/sampler.h"

#include <cmath>

#include <gtest/gtest.h>

#include "core/random.h"

namespace ponder::rollout {
namespace {

const std::vector<float> kLogits = {0.0f, 1.0f, 3.0f, 2.0f, -1.0f};

Draw draw(const TokenRule& rule, double uniform) {
  std::vector<float> scratch;
  return draw_token(kLogits, rule, uniform, scratch);
}

std::vector<double> softmax(double temperature) {
  std::vector<double> p;
  double total = 0;
  for (const float logit : kLogits) total += std::exp(logit / temperature);
  for (const float logit : kLogits) p.push_back(std::exp(logit / temperature) / total);
  return p;
}

std::vector<double> frequencies(const TokenRule& rule, int draws) {
  std::vector<double> counts(kLogits.size(), 0.0);
  for (int i = 0; i < draws; ++i)
    counts[draw(rule, core::uniform_at(1, 2, 3, i)).token] += 1.0 / draws;
  return counts;
}

TEST(DrawToken, GreedyTakesTheGreatest) {
  EXPECT_EQ(draw({.temperature = 0}, 0.99).token, 2);
  EXPECT_NEAR(draw({.temperature = 0}, 0.99).logprob, std::log(softmax(1)[2]), 1e-6);
}

TEST(DrawToken, FrequenciesAreTheSoftmax) {
  for (const double temperature : {0.5, 1.0, 2.0}) {
    const auto want = softmax(temperature), got = frequencies({.temperature = temperature}, 40000);
    for (size_t i = 0; i < want.size(); ++i)
      EXPECT_NEAR(got[i], want[i], 0.012) << "token " << i << " at " << temperature;
  }
}

TEST(DrawToken, LogprobIsOfTheWholeDistributionAtItsTemperature) {
  const Draw got = draw({.temperature = 0.5, .top_k = 2}, 0.9);
  EXPECT_NEAR(got.logprob, std::log(softmax(0.5)[got.token]), 1e-6);
}

TEST(DrawToken, TopKAndTopPLeaveOutTheTail) {
  const auto p = softmax(1);
  const auto top2 = frequencies({.top_k = 2}, 20000);
  EXPECT_NEAR(top2[2], p[2] / (p[2] + p[3]), 0.015);
  EXPECT_EQ(top2[0] + top2[1] + top2[4], 0);
  const auto nucleus = frequencies({.top_p = 0.7}, 20000);  // p is .64 .24 ...: two tokens reach .7
  EXPECT_EQ(nucleus[0] + nucleus[1] + nucleus[4], 0);
  EXPECT_GT(nucleus[3], 0.2);
  EXPECT_NEAR(frequencies({.top_p = 0.1}, 100)[2], 1.0, 1e-9);  // at least one token stays
}

TEST(DrawToken, EndsOfTheUniformRangeAreTokens) {
  EXPECT_EQ(draw({}, 0.0).token, 0);
  EXPECT_EQ(draw({}, 1.0 - 1e-16).token, 4);
}

}  // namespace
}  // namespace ponder::rollout
