#include "core/spelling.h"

#include <gtest/gtest.h>

namespace ponder::core {
namespace {

TEST(EditDistance, CountsEdits) {
  EXPECT_EQ(edit_distance("", ""), 0);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(edit_distance("beta", ""), 4);
  EXPECT_EQ(edit_distance("grop", "grpo"), 1);
}

TEST(NearestName, FindsTheTypo) {
  const std::vector<std::string> names = {"learning_rate", "beta", "epsilon", "epsilon_high"};
  EXPECT_EQ(nearest_name("learnin_rate", names), "learning_rate");
  EXPECT_EQ(nearest_name("Learning-Rate", names), "learning_rate");
  EXPECT_EQ(nearest_name("epsilom", names), "epsilon");
  EXPECT_EQ(nearest_name("zzz", names), "");
}

TEST(Suggestion, ListsTheNamesWhereNoneIsNear) {
  EXPECT_EQ(suggestion("bta", {"beta", "seed"}), ", did you mean 'beta'?");
  EXPECT_EQ(suggestion("qqqqqq", {"beta", "seed"}), " (known: beta, seed)");
}

}  // namespace
}  // namespace ponder::core
