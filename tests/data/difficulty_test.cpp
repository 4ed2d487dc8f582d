#include "data/difficulty.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace ponder::data {
namespace {

TEST(Difficulty, IsTheExponentialMeanOfMeasuredRates) {
  Difficulty difficulty({.decay = 0.75});
  EXPECT_EQ(difficulty.pass_rate("a"), std::nullopt);
  difficulty.observe("a", 4, 4);
  EXPECT_DOUBLE_EQ(*difficulty.pass_rate("a"), 1.0);
  difficulty.observe("a", 0, 8);
  EXPECT_DOUBLE_EQ(*difficulty.pass_rate("a"), 0.75);
  difficulty.observe("a", 1, 2);
  EXPECT_DOUBLE_EQ(*difficulty.pass_rate("a"), 0.75 * 0.75 + 0.25 * 0.5);
  EXPECT_EQ(difficulty.pass_rate("b"), std::nullopt);
}

TEST(Difficulty, WantsWhatLiesWithinTheBoundsAndTheRestByChance) {
  Difficulty difficulty({.min_pass_rate = 0.2, .max_pass_rate = 0.8, .resample = 0.1});
  difficulty.observe("hard", 0, 8);
  difficulty.observe("solved", 8, 8);
  difficulty.observe("middle", 4, 8);
  difficulty.observe("edge", 1, 5);
  for (const char* id : {"middle", "edge", "never seen"}) EXPECT_TRUE(difficulty.wants(id, 0.99));
  for (const char* id : {"hard", "solved"}) {
    EXPECT_FALSE(difficulty.wants(id, 0.1)) << id;
    EXPECT_TRUE(difficulty.wants(id, 0.09)) << id;
  }
}

TEST(Difficulty, CountsTheEndsOfTheScale) {
  Difficulty difficulty({});
  EXPECT_EQ(difficulty.share_never(), 0);
  difficulty.observe("a", 0, 4);
  difficulty.observe("b", 4, 4);
  difficulty.observe("c", 2, 4);
  difficulty.observe("d", 0, 1);
  EXPECT_DOUBLE_EQ(difficulty.share_never(), 0.5);
  EXPECT_DOUBLE_EQ(difficulty.share_always(), 0.25);
}

TEST(Difficulty, ItsStateGoesThroughJsonExactly) {
  Difficulty difficulty({.decay = 0.3}), again({.decay = 0.3});
  for (int i = 1; i < 20; ++i) difficulty.observe("p" + std::to_string(i % 5), i % 3, 3);
  again.restore(Json::parse(difficulty.state().dump()));
  for (int i = 0; i < 5; ++i) {
    const std::string id = "p" + std::to_string(i);
    EXPECT_EQ(again.pass_rate(id), difficulty.pass_rate(id));
  }
  EXPECT_THROW(difficulty.observe("x", 2, 1), core::InternalError);
  EXPECT_THROW(difficulty.observe("x", 0, 0), core::InternalError);
}

}  // namespace
}  // namespace ponder::data
