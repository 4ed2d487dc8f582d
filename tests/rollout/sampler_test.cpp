#include "rollout/sampler.h"

#include <cmath>

#include <gtest/gtest.h>

#include "core/random.h"

namespace ponder::rollout {
namespace {

const std::vector<float> kLogits = {0.0f, 1.0f, 3.0f, 2.0f, -1.0f};

Draw draw(const TokenRule& rule, double uniform) {
  DrawScratch scratch;
  return draw_token(kLogits, rule, {}, uniform, scratch);
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

TEST(DrawToken, ATemperatureNextToZeroIsGreedy) {
  for (const double temperature : {1e-30, 1e-300}) {
    EXPECT_EQ(draw({.temperature = temperature}, 0.99).token, 2);
    EXPECT_EQ(draw({.temperature = temperature}, 0.99).logprob, 0);
  }
}

TEST(DrawToken, LogitsThatAreNotFiniteShowInTheLogprob) {
  DrawScratch scratch;
  for (const float wrong : {NAN, INFINITY}) {
    for (const size_t place : {0, 2, 4}) {
      std::vector<float> logits = kLogits;
      logits[place] = wrong;
      for (const TokenRule& rule : std::vector<TokenRule>{
               {}, {.temperature = 0}, {.top_k = 2}, {.top_p = 0.5}, {.min_p = 0.1}}) {
        const Draw got = draw_token(logits, rule, {}, 0.5, scratch);
        EXPECT_TRUE(std::isnan(got.logprob));
        EXPECT_GE(got.token, 0);
        EXPECT_LT(got.token, 5);
      }
    }
  }
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

TEST(DrawToken, TheTwoLogprobsAreOfTheModelAndOfWhatItWasDrawnFrom) {
  DrawScratch scratch;
  const TokenRule rule{.temperature = 0.7,
                       .top_k = 3,
                       .presence_penalty = 0.5,
                       .frequency_penalty = 0.25,
                       .logit_bias = {{0, 2.5f}}};
  const std::vector<int32_t> completion = {2, 2, 3};
  const DrawContext context{.prompt = {}, .completion = completion};
  const auto plain = softmax(0.7);
  const auto drawn_from = sampling_distribution(kLogits, rule, context);
  std::vector<double> counts(kLogits.size(), 0.0);
  for (int i = 0; i < 20000; ++i) {
    const Draw draw = draw_token(kLogits, rule, context, core::uniform_at(1, 2, 3, i), scratch);
    counts[draw.token] += 1.0 / 20000;
    EXPECT_NEAR(draw.logprob, std::log(plain[draw.token]), 1e-6);
    EXPECT_NEAR(draw.sampling_logprob, std::log(drawn_from[draw.token]), 1e-6);
  }
  for (size_t i = 0; i < counts.size(); ++i) EXPECT_NEAR(counts[i], drawn_from[i], 0.015);
  // Presence once, frequency by count: 3 - 0.5 - 2 x 0.25 for token 2.
  const std::vector<double> changed = {2.5, 1.0, 2.0, 1.25, -1.0};
  EXPECT_NEAR(drawn_from[2] / drawn_from[0], std::exp((changed[2] - changed[0]) / 0.7), 1e-5);
  EXPECT_NEAR(drawn_from[3] / drawn_from[0], std::exp((changed[3] - changed[0]) / 0.7), 1e-5);
}

TEST(DrawToken, ForbiddenTokensNeverComeUnlessNothingElseIsLeft) {
  DrawScratch scratch;
  const std::vector<int32_t> most = {1, 2, 3}, all = {0, 1, 2, 3, 4};
  for (int i = 0; i < 200; ++i) {
    const double uniform = core::uniform_at(1, 2, 3, i);
    const int32_t token = draw_token(kLogits, {}, {.forbidden = most}, uniform, scratch).token;
    EXPECT_TRUE(token == 0 || token == 4);
    EXPECT_EQ(draw_token(kLogits, {}, {.forbidden = all}, uniform, scratch).token,
              draw_token(kLogits, {}, {}, uniform, scratch).token);
  }
  EXPECT_EQ(draw_token(kLogits, {.temperature = 0}, {.forbidden = most}, 0, scratch).token, 0);
}

// A vocabulary of several blocks, every draw against the sum written out.
TEST(DrawToken, TakesTheTokenWhoseShareHoldsTheNumber) {
  core::Rng rng(3, 3);
  std::vector<float> logits;
  for (int i = 0; i < 1000; ++i) logits.push_back(static_cast<float>(4 * rng.normal()));
  DrawScratch scratch;
  for (const TokenRule& rule :
       {TokenRule{}, TokenRule{.top_k = 20}, TokenRule{.top_p = 0.9}, TokenRule{.min_p = 0.05}}) {
    const auto distribution = sampling_distribution(logits, rule, {});
    for (int i = 0; i < 500; ++i) {
      const double uniform = rng.uniform();
      const int32_t token = draw_token(logits, rule, {}, uniform, scratch).token;
      double before = 0;
      for (int32_t t = 0; t < token; ++t) before += distribution[t];
      EXPECT_GT(distribution[token], 0);
      EXPECT_LE(before, uniform + 1e-5);
      EXPECT_GE(before + distribution[token], uniform - 1e-5);
    }
  }
}

TEST(TopLogprobs, AreTheGreatestInOrder) {
  const TopLogprobs got = top_logprobs(kLogits, 4, 3);
  const auto p = softmax(1);
  EXPECT_EQ(got.chosen.token, 4);
  EXPECT_NEAR(got.chosen.logprob, std::log(p[4]), 1e-6);
  ASSERT_EQ(got.top.size(), 3u);
  EXPECT_EQ(got.top[0].token, 2);
  EXPECT_EQ(got.top[1].token, 3);
  EXPECT_EQ(got.top[2].token, 1);
  EXPECT_NEAR(got.top[1].logprob, std::log(p[3]), 1e-6);
  EXPECT_EQ(top_logprobs(kLogits, 0, 100).top.size(), kLogits.size());
}

}  // namespace
}  // namespace ponder::rollout
