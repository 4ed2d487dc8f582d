#include "core/random.h"

#include <cmath>

#include <gtest/gtest.h>

namespace ponder::core {
namespace {

// Known answers from Random123's kat_vectors file, "philox4x32 10".
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(StableHash, IsFnv1a) {  // values of the FNV reference code
  EXPECT_EQ(stable_hash(""), 0xcbf29ce484222325ULL);
  EXPECT_EQ(stable_hash("a"), 0xaf63dc4c8601ec8cULL);
  EXPECT_EQ(stable_hash("foobar"), 0x85944171f73967e8ULL);
}

TEST(UniformAt, DependsOnEveryArgument) {
  const double base = uniform_at(1, 2, 3, 4);
  EXPECT_EQ(base, uniform_at(1, 2, 3, 4));
  EXPECT_NE(base, uniform_at(2, 2, 3, 4));
  EXPECT_NE(base, uniform_at(1, 3, 3, 4));
  EXPECT_NE(base, uniform_at(1, 2, 4, 4));
  EXPECT_NE(base, uniform_at(1, 2, 3, 5));
}

TEST(Rng, UniformHasTheMomentsOfTheUniformDistribution) {
  Rng rng(7, 11);
  const int n = 200000;
  double sum = 0, squares = 0;
  for (int i = 0; i < n; ++i) {
    const double u = rng.uniform();
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
    squares += u * u;
  }
  EXPECT_NEAR(sum / n, 0.5, 0.003);
  EXPECT_NEAR(squares / n, 1.0 / 3, 0.003);
}

TEST(Rng, IntegerReachesBothEnds) {
  Rng rng(1, 1);
  int counts[3] = {};
  for (int i = 0; i < 3000; ++i) ++counts[rng.integer(-1, 1) + 1];
  for (const int count : counts) EXPECT_NEAR(count, 1000, 120);
}

TEST(Rng, NormalHasUnitVariance) {
  Rng rng(3, 1);
  double sum = 0, squares = 0;
  const int n = 100000;
  for (int i = 0; i < n; ++i) {
    const double z = rng.normal();
    sum += z;
    squares += z * z;
  }
  EXPECT_NEAR(sum / n, 0, 0.015);
  EXPECT_NEAR(squares / n, 1, 0.02);
}

}  // namespace
}  // namespace ponder::core
