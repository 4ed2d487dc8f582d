#include "data/decontaminate.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace ponder::data {
namespace {

TEST(NgramSet, FindsARunOfWordsWhateverStandsAround) {
  NgramSet set(4);
  set.add("If Tom has 3 apples, how many?");
  EXPECT_TRUE(set.touches("Question: if tom HAS 3 pears"));
  EXPECT_TRUE(set.touches("x if, tom; has\n3 apples"));
  EXPECT_FALSE(set.touches("if tom has four apples"));
  EXPECT_FALSE(set.touches("has tom if 3 apples how"));
  EXPECT_FALSE(set.touches("if tom has"));
}

TEST(NgramSet, AShortTextIsItsOwnNgram) {
  NgramSet set(8);
  set.add("2 + 2?");
  EXPECT_TRUE(set.touches("2+2"));
  EXPECT_FALSE(set.touches("what is 2+2"));
  EXPECT_FALSE(set.touches("..."));
  EXPECT_FALSE(NgramSet(8).touches("anything at all"));
}

TEST(NgramSet, BytesBeyondAsciiAreLetters) {
  NgramSet set(2);
  set.add("\u00dcber das");
  EXPECT_TRUE(set.touches("\u00dcber das Meer"));
  EXPECT_FALSE(set.touches("ber das"));
  EXPECT_THROW(NgramSet(0), core::InternalError);
}

}  // namespace
}  // namespace ponder::data
