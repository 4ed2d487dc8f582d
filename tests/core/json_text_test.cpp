#include "core/json_text.h"

#include <nlohmann/json.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/fuzz/mutate.h"

namespace ponder::core {
namespace {

using fuzz::nested_lists;
using nlohmann::json;

std::string error_of(const std::string& text) {
  try {
    parse_json<json>(text, "a.json");
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(ParseJson, RefusesWhatIsNestedDeeperThanTheLimit) {
  EXPECT_EQ(parse_json<json>(nested_lists(200), "a.json").dump(), nested_lists(200));
  for (const std::string& text :
       {nested_lists(201), nested_lists(200'000), std::string(200'000, '['),
        R"({"a": [1, "]]]]", {"b\"": )" + nested_lists(199) + "}]}"}) {
    EXPECT_EQ(error_of(text), "a.json: JSON that is nested deeper than 200");
    EXPECT_TRUE(parse_json_or_discard<json>(text).is_discarded());
  }
}

TEST(ParseJson, CountsNoBracketsInsideStrings) {
  const std::string text = R"({"a": "\"[[[\\", "b": ")" + std::string(300, '{') + "\"}";
  EXPECT_EQ(parse_json<json>(text, "a.json"), json::parse(text));
}

TEST(ParseJson, NamesThePlaceOfWhatIsNoJson) {
  EXPECT_THAT(error_of("{\"a\": "), ::testing::StartsWith("a.json: broken JSON: "));
  EXPECT_THAT(error_of("\"\xFF\""), ::testing::StartsWith("a.json: broken JSON: "));
  EXPECT_TRUE(parse_json_or_discard<json>("{\"a\": ").is_discarded());
}

}  // namespace
}  // namespace ponder::core
