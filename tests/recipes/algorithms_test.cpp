#include "recipes/algorithms.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "recipes/batch_arithmetic.h"

namespace ponder::recipes {
namespace {

GrpoOptions of(const std::string& name) {
  GrpoOptions options;
  set_algorithm(options, name);
  return options;
}

TEST(Algorithms, NoNameIsTrlsDefaults) {
  const GrpoOptions options = of("");
  EXPECT_EQ(options.loss.loss_type, "dapo");
  EXPECT_EQ(options.loss.epsilon_high, std::nullopt);
  EXPECT_EQ(options.loss.beta, 0);
  EXPECT_EQ(options.num_generations, 8);
  EXPECT_FALSE(options.filter_groups.enable);
}

// The figures of the papers, read there and written down here once more.
TEST(Algorithms, PapersFigures) {
  EXPECT_EQ(of("r1").loss.loss_type, "r1");
  EXPECT_EQ(of("r1").loss.epsilon, 10);
  EXPECT_EQ(of("r1").loss.beta, 0.001);
  EXPECT_EQ(of("r1").ref_model_sync_steps, 400);
  EXPECT_EQ(of("r1").ref_model_mixup_alpha, 1);
  EXPECT_EQ(of("r1").steps_per_generation, 16);
  EXPECT_EQ(of("grpo").loss.beta, 0.04);
  EXPECT_EQ(of("dapo").loss.epsilon_high, 0.28);
  EXPECT_TRUE(of("dapo").filter_groups.enable);
  EXPECT_TRUE(of("dapo").mask_truncated_completions);
  EXPECT_EQ(of("dr_grpo").advantage.scale_rewards, grpo::ScaleRewards::kNone);
  EXPECT_EQ(of("gspo").loss.importance_sampling_level, grpo::ImportanceLevel::kSequence);
  EXPECT_EQ(of("rloo").advantage.estimator, grpo::Estimator::kRloo);
  EXPECT_TRUE(of("rloo").use_kl_in_reward);
  EXPECT_EQ(of("reinforce_plus_plus").advantage.estimator, grpo::Estimator::kReinforcePlusPlus);
}

TEST(Algorithms, EachIsAValidRecipe) {
  for (const std::string& name : algorithm_names()) {
    GrpoRecipe recipe;
    recipe.algorithm = name;
    set_algorithm(recipe.grpo, name);
    EXPECT_NO_THROW(check_batch_arithmetic(recipe, 0)) << name;
  }
  EXPECT_THROW(of("grop"), core::UserError);
}

TEST(BatchArithmetic, IsWrittenOut) {
  GrpoRecipe recipe;
  recipe.grpo = {.max_steps = 1000,
                 .prompts_per_step = 512,
                 .num_generations = 16,
                 .max_completion_length = 32768,
                 .steps_per_generation = 16};
  EXPECT_EQ(
      batch_arithmetic(recipe, 0),
      "a step: 512 prompts x 16 completions = 8,192 sequences; 1 pass x 16 mini-batches of 512 "
      "= 16 updates\n1,000 steps: 16,000 updates, 512,000 prompts, 8,192,000 completions of at "
      "most 32,768 tokens");
  EXPECT_NE(batch_arithmetic(recipe, 208000).find("2.5 epochs of 208,000 prompts"),
            std::string::npos);
}

TEST(BatchArithmetic, NamesTheNearestRightValues) {
  GrpoRecipe recipe;
  recipe.grpo = {.prompts_per_step = 5, .num_generations = 6};
  const auto error_of = [&] {
    try {
      check_batch_arithmetic(recipe, 4);
    } catch (const core::UserError& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  for (const auto& [steps, want] : std::vector<std::pair<int64_t, std::string>>{
           {4, "3 or 5"}, {7, "6 or 10"}, {29, "15 or 30"}, {31, "30"}}) {
    recipe.grpo.steps_per_generation = steps;
    EXPECT_NE(error_of().find("set it to " + want), std::string::npos) << error_of();
  }
  recipe.grpo.steps_per_generation = 1;
  EXPECT_NE(error_of().find("set it to 4 or less"), std::string::npos) << error_of();
}

}  // namespace
}  // namespace ponder::recipes
