#include "rewards/scorer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"

namespace ponder::rewards {
namespace {

data::Prompt prompt_with(const data::Json& answer) {
  data::Prompt prompt;
  prompt.answer = answer;
  return prompt;
}

data::Completion stopped(const std::string& text) {
  data::Completion completion;
  completion.text = text;
  completion.finish_reason = data::FinishReason::kStop;
  return completion;
}

TEST(Scorer, AddsWeightedParts) {
  const Scorer scorer({{"accuracy", "format"}, {1.0, 0.1}});
  const data::Score right =
      scorer.score(prompt_with(5), stopped("<think></think><answer>5</answer>"));
  EXPECT_DOUBLE_EQ(right.value.value(), 1.1);
  EXPECT_EQ(right.status, data::ScoreStatus::kOk);
  EXPECT_EQ(right.parts.at("accuracy"), 1.0);
  const data::Score untidy = scorer.score(prompt_with(5), stopped("so <answer>5</answer>"));
  EXPECT_DOUBLE_EQ(untidy.value.value(), 1.0);
  EXPECT_EQ(untidy.status, data::ScoreStatus::kWrong);
  EXPECT_EQ(untidy.reason, "<think> 0 times, expected once");
}

TEST(Scorer, AMissingReferenceMakesTheScoreNull) {
  const Scorer scorer({{"accuracy", "format"}, {1.0, 0.1}});
  const data::Score score =
      scorer.score(prompt_with(nullptr), stopped("<think></think><answer>5</answer>"));
  EXPECT_FALSE(score.value.has_value());
  EXPECT_EQ(score.status, data::ScoreStatus::kRefused);
  EXPECT_EQ(score.parts.at("format"), 1.0);
}

TEST(Scorer, MathComparesByMeaning) {
  const Scorer scorer({{"math"}, {1.0}});
  EXPECT_EQ(scorer.score(prompt_with("\\frac{1}{2}"), stopped("so \\boxed{0.5}")).value, 1.0);
  EXPECT_EQ(scorer.score(prompt_with(7), stopped("The answer is 8.")).value, 0.0);
  EXPECT_EQ(scorer.score(prompt_with("\\frac{"), stopped("\\boxed{1}")).value, std::nullopt);
}

TEST(Scorer, NamesTheLineOfAReferenceThatCannotBeUsed) {
  const Scorer scorer({{"math"}, {1.0}});
  std::vector<data::Prompt> prompts = {prompt_with("2"), prompt_with("\\frac{"), prompt_with("3")};
  prompts[1].id = "seven";
  const auto message = [&](const std::vector<std::string>& places) -> std::string {
    try {
      scorer.check(prompts, places);
    } catch (const core::UserError& error) {
      return error.what();
    }
    return {};
  };
  EXPECT_THAT(message({"d.jsonl:1", "d.jsonl:3", "d.jsonl:4"}),
              ::testing::AllOf(::testing::HasSubstr("1 of 3 prompts"),
                               ::testing::HasSubstr("d.jsonl:3: (prompt seven) math: ")));
  EXPECT_THAT(message({}), ::testing::HasSubstr("prompt seven: math: "));
}

TEST(Scorer, RefusesWrongOptions) {
  EXPECT_THROW(Scorer(RewardOptions{{}, {}}), core::UserError);
  EXPECT_THROW(Scorer({{"accuracy"}, {1.0, 2.0}}), core::UserError);
  EXPECT_THROW(Scorer({{"accurracy"}, {1.0}}), core::UserError);
  EXPECT_THROW(Scorer({{"accuracy"}, {std::numeric_limits<double>::infinity()}}), core::UserError);
}

TEST(ScoringPool, ScoresStandWhereTheyBelong) {
  const Scorer scorer({{"accuracy"}, {1.0}});
  ScoringPool pool(scorer, 3);
  for (int round = 0; round < 3; ++round) {
    pool.start(20, 10);
    for (size_t i = 20; i-- > 0;) {
      for (size_t j = 0; j < 10; ++j) {
        pool.submit(i, j, prompt_with(7),
                    stopped((i * j) % 3 == 0 ? "<answer>7</answer>" : "<answer>8</answer>"));
      }
    }
    const auto scores = pool.finish();
    for (size_t i = 0; i < 20; ++i) {
      for (size_t j = 0; j < 10; ++j) EXPECT_EQ(scores[i][j].value, (i * j) % 3 == 0 ? 1.0 : 0.0);
    }
  }
}

TEST(ScoringPool, ASampleThatWasNeverSubmittedIsOurBug) {
  const Scorer scorer({{"accuracy"}, {1.0}});
  ScoringPool pool(scorer, 1);
  pool.start(1, 2);
  pool.submit(0, 0, prompt_with(7), stopped(""));
  EXPECT_THROW(pool.finish(), core::InternalError);
}

}  // namespace
}  // namespace ponder::rewards
