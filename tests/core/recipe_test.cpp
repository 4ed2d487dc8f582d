#include "core/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"

namespace ponder::core {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

enum class Loss { kGrpo, kDapo };

struct Inner {
  double epsilon = 0.2;
  std::optional<double> epsilon_high;
  Loss loss = Loss::kDapo;
};

struct Options {
  bool bf16 = false;
  int64_t seed = 1;
  std::string name = "a \"quoted\" name";
  std::vector<std::string> funcs = {"x", "y"};
  std::vector<double> weights = {1.0, 0.1};
  Inner grpo;
};

void bind(Binder& b, Inner& o) {
  b.field("epsilon", o.epsilon, "clip", {.low = 0, .high = 1});
  b.field("epsilon_high", o.epsilon_high, "upper clip");
  b.choice<Loss>("loss_type", o.loss, {{"grpo", Loss::kGrpo}, {"dapo", Loss::kDapo}}, "which loss");
}

void bind(Binder& b, Options& o) {
  b.field("bf16", o.bf16, "half precision");
  b.field("seed", o.seed, "seed", {.low = 0});
  b.field("name", o.name, "name");
  b.field("funcs", o.funcs, "rewards");
  b.field("weights", o.weights, "weights");
  b.table("grpo", o.grpo);
}

Options read(const std::string& text, const std::vector<std::string>& overrides = {}) {
  Options options;
  Recipe::from_text(text, "r.toml", overrides).read(options);
  return options;
}

std::string error_of(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    read(text, overrides);
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Recipe, FileBeatsDefaultAndWordBeatsFile) {
  const Options o = read("seed = 5\n[grpo]\nepsilon = 0.3\nloss_type = 'grpo'\n",
                         {"seed=7", "grpo.epsilon_high=0.28"});
  EXPECT_EQ(o.seed, 7);
  EXPECT_EQ(o.grpo.epsilon, 0.3);
  EXPECT_EQ(o.grpo.epsilon_high, 0.28);
  EXPECT_EQ(o.grpo.loss, Loss::kGrpo);
}

TEST(Recipe, WordMayMakeATableAndABareString) {
  const Options o = read("", {"grpo.loss_type=grpo", "name=hello there"});
  EXPECT_EQ(o.grpo.loss, Loss::kGrpo);
  EXPECT_EQ(o.name, "hello there");
}

TEST(Recipe, IntegerServesAsNumber) {
  EXPECT_EQ(read("[grpo]\nepsilon = 1").grpo.epsilon, 1.0);
}

TEST(Recipe, ErrorsNamePlaceAndRemedy) {
  const struct {
    const char* text;
    const char* want;
  } cases[] = {
      {"\nsed = 1", "r.toml:2:7: sed: unknown key, did you mean 'seed'?"},
      {"[grpo]\nepsilom = 1", "grpo.epsilom: unknown key, did you mean 'epsilon'?"},
      {"[grop]\nepsilon = 1", "grop: unknown key, did you mean 'grpo'?"},
      {"epsilon = 1", "epsilon: unknown key, did you mean 'grpo.epsilon'?"},
      {"seed = 'one'", "r.toml:1:8: seed: expected an integer, found the string 'one'"},
      {"seed = 1.5", "seed: expected an integer, found the number 1.5"},
      {"bf16 = 1", "bf16: expected true or false, found the integer 1"},
      {"seed = -1", "seed: expected a value at least 0, found -1"},
      {"[grpo]\nepsilon = 2", "expected a value from 0 to 1, found 2"},
      {"[grpo]\nepsilon = nan", "expected a value from 0 to 1, found nan"},
      {"grpo = 3", "grpo: expected a table, found the integer 3"},
      {"funcs = 'x'", "funcs: expected a list of strings, found the string 'x'"},
      {"weights = [1, 'a']", "weights: expected a list of numbers, found the string 'a'"},
      {"[grpo]\nloss_type = 'dappo'", "unknown name 'dappo', did you mean 'dapo'?"},
      {"seed = = 1", "r.toml:1:8: "},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    EXPECT_THAT(error_of(c.text), HasSubstr(c.want));
  }
}

TEST(Recipe, ErrorsOfWordsNameTheCommandLine) {
  EXPECT_EQ(error_of("", {"grpo.epsilom=1"}),
            "command line: grpo.epsilom: unknown key, did you mean 'epsilon'?");
  EXPECT_EQ(error_of("", {"seed=x"}),
            "command line: seed: expected an integer, found the string 'x'");
  EXPECT_EQ(error_of("", {"seed"}), "command line: expected key=value, found 'seed'");
  EXPECT_THAT(error_of("seed = 1", {"seed.x=1"}), HasSubstr("'seed' is no table"));
  EXPECT_THAT(error_of("", {"grop.x=1"}), HasSubstr("command line: grop: unknown key"));
}

TEST(Recipe, AllProblemsAreReportedAtOnce) {
  EXPECT_THAT(error_of("sed = 1\nbf16 = 2\n"),
              AllOf(HasSubstr("sed: unknown"), HasSubstr("bf16: expected")));
}

TEST(RecipeWriter, WritesEveryDefaultAndReadsBackTheSame) {
  Options options = read("", {"grpo.epsilon=0.1", "weights=[0.30000000000000004]"});
  const std::string text = RecipeWriter::text_of(options);
  EXPECT_THAT(text, HasSubstr("seed = 1  # seed"));
  EXPECT_THAT(text, HasSubstr("[grpo]"));
  EXPECT_THAT(text, HasSubstr("# epsilon_high is unset"));
  const Options again = read(text);
  EXPECT_EQ(again.name, options.name);
  EXPECT_EQ(again.weights, options.weights);
  EXPECT_EQ(RecipeWriter::text_of(again), text);
}

TEST(FlattenRecipe, GivesDottedKeys) {
  const auto flat = flatten_recipe("a = 1\n[b]\nc = [1, 2]\n", "x");
  EXPECT_EQ(flat.at("a"), "1");
  EXPECT_EQ(flat.at("b.c"), "[ 1, 2 ]");
  EXPECT_EQ(flatten_recipe("a = 0.1", "x").at("a"), "0.1");
}

}  // namespace
}  // namespace ponder::core
