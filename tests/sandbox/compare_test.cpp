#include "sandbox/compare.h"

#include <string>

#include <gtest/gtest.h>

namespace ponder::sandbox {
namespace {

using namespace std::string_view_literals;

TEST(SameOutput, ForgivesBlanksAtLineEndsOnly) {
  struct Case {
    const char* name;
    std::string_view got, expected;
    bool same;
  };
  const Case kCases[] = {
      {"Equal", "42\n", "42\n", true},
      {"NoFinalNewline", "42", "42\n", true},
      {"TrailingBlanksAndLines", "42  \n\n\n", "42\n", true},
      {"CarriageReturns", "1 2\r\n3 4\r\n", "1 2\n3 4\n", true},
      {"BothEmpty", "", "", true},
      {"OnlyNewlinesAgainstNothing", "\n\n", "", true},
      {"EmptyAgainstSomething", "", "42\n", false},
      {"SomethingAgainstEmpty", "42\n", "", false},
      {"BlankInside", "4 2", "42", false},
      {"LeadingBlank", " 42", "42", false},
      {"EmptyLineInside", "4\n\n2", "4\n2", false},
      {"NulIsAByte", "42\0 more"sv, "42", false},
      {"EqualNuls", "4\0002"sv, "4\0002"sv, true},
      {"NanIsNoNumber", "nan", "3.14159", false},
      {"NumbersAreText", "42.0", "42", false},
      {"Prefix", "42\n43", "42", false},
      {"BadUtf8", "\xff\xfe", "\xff\xfe", true},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(same_output(c.got, c.expected), c.same);
  }
}

}  // namespace
}  // namespace ponder::sandbox
