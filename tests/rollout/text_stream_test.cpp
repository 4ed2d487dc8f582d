#include "rollout/text_stream.h"

#include <gtest/gtest.h>

#include "tests/rollout/letters.h"

namespace ponder::rollout {
namespace {

// Pushes the letters of `text` one token each; returns what came out at each push.
std::vector<std::string> pieces(TextStream& stream, const std::string& text) {
  std::vector<std::string> out;
  for (const char c : text) out.push_back(stream.push(letter_id(c)));
  return out;
}

TEST(TextStream, HoldsBackWhatMayBecomeAStop) {
  TextStream stream(letters(), false, {"ABAC"});
  EXPECT_EQ(pieces(stream, "1ABABD"), (std::vector<std::string>{"1", "", "", "", "AB", "ABD"}));
  EXPECT_FALSE(stream.stopped());
  EXPECT_EQ(stream.finish(), "");
  EXPECT_EQ(stream.text(), "1ABABD");
}

TEST(TextStream, EndsBeforeTheStop) {
  TextStream stream(letters(), false, {"ABAC"});
  EXPECT_EQ(pieces(stream, "1ABABAC22"),
            (std::vector<std::string>{"1", "", "", "", "AB", "", "", "", ""}));
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(stream.finish(), "");
  EXPECT_EQ(stream.text(), "1AB");
}

TEST(TextStream, TheStopThatBeginsFirstCounts) {
  TextStream stream(letters(), false, {"BC", "ABCD", ""});
  pieces(stream, "00ABCD");
  EXPECT_EQ(stream.text(), "00A");  // BC is complete before ABCD is
}

TEST(TextStream, EndsBehindTheStopWhereAsked) {
  TextStream stream(letters(), false, {"ABCD", "AB"}, /*include_stop=*/true);
  EXPECT_EQ(pieces(stream, "1ABCD2"), (std::vector<std::string>{"1", "", "AB", "", "", ""}));
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(stream.text(), "1AB");
}

TEST(TextStream, GivesOutWhatWasHeldBackAtTheEnd) {
  TextStream stream(letters(), false, {"ABC"});
  pieces(stream, "1AB");
  EXPECT_EQ(stream.text(), "1");
  EXPECT_EQ(stream.finish(), "AB");
  EXPECT_EQ(stream.text(), "1AB");
}

}  // namespace
}  // namespace ponder::rollout
