// A resolved recipe is a recipe: what a run writes down, with every default, reads back as the
// same.
#include <filesystem>

#include <gtest/gtest.h>

#include "core/file.h"
#include "recipes/options.h"

namespace ponder::recipes {
namespace {

template <typename Recipe>
void expect_reads_back(Recipe recipe) {
  const std::string text = core::RecipeWriter::text_of(recipe);
  Recipe again;
  core::Recipe::from_text(text, "resolved").read(again);
  EXPECT_EQ(core::RecipeWriter::text_of(again), text);
}

TEST(ResolvedRecipe, DefaultsReadBack) {
  expect_reads_back(GrpoRecipe());
  expect_reads_back(PretrainRecipe());
}

TEST(ResolvedRecipe, EveryShippedRecipeReadsBack) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("recipes")) {
    if (entry.path().extension() != ".toml") continue;
    SCOPED_TRACE(entry.path());
    const core::Recipe file = core::Recipe::from_file(entry.path());
    if (file.peek("stage") == "grpo") {
      GrpoRecipe recipe;
      file.read(recipe);
      expect_reads_back(recipe);
      ++count;
    } else if (file.peek("stage") == "pretrain") {
      PretrainRecipe recipe;
      file.read(recipe);
      expect_reads_back(recipe);
      ++count;
    }
  }
  EXPECT_GE(count, 2);
}

}  // namespace
}  // namespace ponder::recipes
