#include "data/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ponder::data {
namespace {

using ::testing::HasSubstr;

TEST(ParsePrompts, KeepsEveryColumn) {
  const auto prompts = parse_prompts(
      "{\"prompt\": \"1+1?\", \"answer\": 2, \"level\": \"easy\"}\n\n{\"id\": \"b\", \"prompt\": "
      "\"?\", \"solution\": \"x\", \"rewards\": [\"math\"]}\r\n",
      "f");
  ASSERT_EQ(prompts.size(), 2u);
  EXPECT_EQ(prompts[0].id, "1");
  EXPECT_EQ(prompts[0].answer, 2);
  EXPECT_EQ(prompts[0].columns["level"], "easy");
  EXPECT_EQ(prompts[1].id, "b");
  EXPECT_EQ(prompts[1].answer, "x");
  EXPECT_EQ(prompts[1].rewards, std::vector<std::string>{"math"});
}

TEST(ParsePrompts, ErrorsNameFileAndLine) {
  const struct {
    const char* text;
    const char* want;
  } cases[] = {
      {"", "the dataset f is empty"},
      {"\n  \n", "the dataset f is empty"},
      {"{\"prompt\": \"a\"}\n{\"prompt\"", "f:2: broken JSON"},
      {"[1]", "f:1: expected a JSON object, found array"},
      {"{\"question\": \"a\"}", "f:1: the key prompt is missing"},
      {"{\"prompt\": 7}", "f:1: prompt: expected a string, found number"},
      {"{\"prompt\": \"a\", \"id\": 1}\n{\"prompt\": \"b\", \"id\": 1}",
       "f:2: the id '1' was given before"},
      {"{\"prompt\": \"a\", \"rewards\": \"math\"}", "f:1: rewards: expected a list of strings"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text);
    try {
      parse_prompts(c.text, "f");
      ADD_FAILURE() << "no error";
    } catch (const core::UserError& error) {
      EXPECT_THAT(error.what(), HasSubstr(c.want));
    }
  }
}

TEST(ReadPrompts, MissingFileIsNamed) {
  EXPECT_THROW(read_prompts("/nowhere/x.jsonl"), core::UserError);
}

}  // namespace
}  // namespace ponder::data
