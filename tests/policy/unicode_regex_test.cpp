#include "policy/unicode_regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "policy/utf8.h"

namespace ponder::policy {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> matches_of(std::string_view pattern, std::string_view text) {
  std::vector<Match> matches;
  UnicodeRegex(pattern, "p").find_all(text, matches);
  std::vector<std::string> result;
  for (const Match& match : matches)
    result.emplace_back(text.substr(match.begin, match.end - match.begin));
  return result;
}

TEST(UnicodeRegex, SpaceIsTheUnicodeProperty) {
  EXPECT_THAT(matches_of(R"(\s)", "a\u0085\u00A0\u3000\u180E\u200Bb"),
              ElementsAre("\u0085", "\u00A0", "\u3000"));
  EXPECT_THAT(matches_of(R"([^\s]+)", "\u180Ea b"), ElementsAre("\u180Ea", "b"));
  EXPECT_THAT(matches_of(R"([\S]+)", "\u180Ea b"), ElementsAre("\u180Ea", "b"));
  EXPECT_THAT(matches_of(R"(\S+)", "\u180Ea b"), ElementsAre("\u180Ea", "b"));
}

TEST(UnicodeRegex, LookaheadAndPossessiveQuantifiersWork) {
  EXPECT_THAT(matches_of(R"(\s+(?!\S)|\s+)", "a   b  "), ElementsAre("  ", " ", "  "));
  EXPECT_THAT(matches_of(R"([^\r\n\p{L}\p{N}]?+\p{L}+)", "-ab!c"), ElementsAre("-ab", "!c"));
}

TEST(UnicodeRegex, CaselessMatchingFoldsUnicode) {
  EXPECT_THAT(matches_of("(?i:'s)", "'s 'S '\u017F"), ElementsAre("'s", "'S", "'\u017F"));
}

TEST(UnicodeRegex, CharactersNewerThanPcre2HaveTheirCategory) {
  EXPECT_THAT(matches_of(R"(\p{L}+)", "\U00031350\U00010D50!"),
              ElementsAre("\U00031350\U00010D50"));
  EXPECT_THAT(matches_of(R"(\p{N})", "\U00010D40"), ElementsAre("\U00010D40"));
}

TEST(UnicodeRegex, ScriptsMeanScriptNotExtensions) {
  EXPECT_THAT(matches_of(R"(\p{Han}+)", "一、二"),
              ElementsAre("一", "二"));  // U+3001 is in Han's Script_Extensions
}

TEST(UnicodeRegex, EmptyMatchesMoveOn) {
  std::vector<Match> matches;
  UnicodeRegex("x*", "p").find_all("aéxx", matches);
  std::vector<std::pair<size_t, size_t>> bounds;
  for (const Match& match : matches) bounds.emplace_back(match.begin, match.end);
  EXPECT_THAT(bounds, ElementsAre(std::pair(0, 0), std::pair(1, 1), std::pair(3, 5)));
}

TEST(UnicodeRegex, LiteralsAreTakenAsTheyAre) {
  std::vector<Match> matches;
  UnicodeRegex::literal("a.(▁", "p").find_all("a.(▁ abc", matches);
  EXPECT_EQ(matches.size(), 1);
}

TEST(UnicodeRegex, WhatEnginesReadDifferentlyIsRefused) {
  for (const char* pattern : {"[a[bc]]", "[a-z&&[^b]]", "a{1,3}+", "[a", "(a", "a\\", R"(\pL)"}) {
    EXPECT_THROW(UnicodeRegex(pattern, "p"), core::UserError) << pattern;
  }
}

TEST(UnicodeRegex, HugeTextsDoNotOverflow) {
  const std::string spaces(1'000'000, ' ');
  EXPECT_EQ(matches_of(R"(\s+(?!\S)|\s+)", spaces + "a").size(), 2);
  EXPECT_EQ(matches_of(R"((?:a|b)+)", std::string(300'000, 'a')).size(), 1);
}

TEST(Utf8, IllFormedPartsAreReplacedAsPythonDoes) {
  struct Case {
    const char* bytes;
    const char* want;  // bytes.decode(errors="replace") of CPython 3.11
  };
  const Case kCases[] = {{"\xE2\x82", "\uFFFD"},
                         {"\xE2\x82x", "\uFFFDx"},
                         {"\xF0\x9F\x98", "\uFFFD"},
                         {"\xC0\xAF", "\uFFFD\uFFFD"},
                         {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
                         {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
                         {"\x80z", "\uFFFDz"},
                         {"\xE0\x80\x80", "\uFFFD\uFFFD\uFFFD"},
                         {"ok\xF0\x9F\x98\x80", "ok😀"}};
  for (const Case& c : kCases) {
    EXPECT_EQ(replace_ill_formed(c.bytes), c.want);
    EXPECT_EQ(is_utf8(c.bytes), std::string(c.bytes) == c.want);
  }
}

TEST(Utf8, UnfinishedSuffixIsWhatMoreBytesCouldComplete) {
  EXPECT_EQ(unfinished_suffix("a"), 0);
  EXPECT_EQ(unfinished_suffix("a\xE2"), 1);
  EXPECT_EQ(unfinished_suffix("a\xE2\x82"), 2);
  EXPECT_EQ(unfinished_suffix("a\xE2\x82\xAC"), 0);
  EXPECT_EQ(unfinished_suffix("\xF0\x9F\x98"), 3);
  EXPECT_EQ(unfinished_suffix("\xE0\x80"), 0);  // overlong: nothing completes it
  EXPECT_EQ(unfinished_suffix("\x82\x82"), 0);
}

}  // namespace
}  // namespace ponder::policy
