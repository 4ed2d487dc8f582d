#include "data/dataset.h"

#include <cstdlib>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

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
      {"{\"prompt\": 7}", "f:1: prompt: expected a string or messages, found number"},
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

TEST(ParsePrompts, BottomlessJsonIsRefused) {
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  EXPECT_THROW(parse_prompts(R"({"prompt": "x", "answer": )" + deep + "}", "d.jsonl"),
               core::UserError);
}

TEST(ParseProblems, MessagesStayMessages) {
  const auto problems = parse_problems(
      R"({"prompt": [{"role": "user", "content": "hi"}], "solution": "4", "level": 2})", "f", {});
  EXPECT_EQ(problems[0].prompt.text, "");
  EXPECT_EQ(problems[0].messages[0]["content"], "hi");
  EXPECT_EQ(problems[0].prompt.answer, "4");
  EXPECT_EQ(problems[0].prompt.columns["solution"], "4");  // reward functions ask for it by name
  EXPECT_THROW(parse_prompts(R"({"prompt": [{"role": "user", "content": "hi"}]})", "f"),
               core::UserError);
  for (const char* bad :
       {R"({"prompt": []})", R"({"prompt": ["hi"]})", R"({"prompt": [{"role": "user"}]})"})
    EXPECT_THROW(parse_problems(bad, "f", {}), core::UserError) << bad;
}

TEST(ParseProblems, ContentsInPartsBecomeTexts) {
  const auto problems =
      parse_problems(R"({"prompt": [{"role": "user", "content": [{"type": "text", "text": "12+"}, )"
                     R"({"type": "text", "text": "2=?"}]}]})",
                     "f", {});
  EXPECT_EQ(problems[0].messages[0]["content"], "12+2=?");
  EXPECT_THROW(
      parse_problems(R"({"prompt": [{"role": "user", "content": [{"type": "image"}]}]})", "f", {}),
      core::UserError);
}

TEST(ParseProblems, AnyConventionTakesItsOwnColumnsFirst) {
  const LayoutOptions any = {.layout = "trl", .columns = {.prompt = "q"}, .any_convention = true};
  for (const char* row : {R"({"q": "2+2?", "prompt": "no", "answer": "4"})",
                          R"({"problem": "2+2?", "solution": "4"})",
                          R"({"question": "2+2?", "reward_model": {"ground_truth": "4"}})"}) {
    const auto problems = parse_problems(row, "f", any);
    EXPECT_EQ(problems[0].prompt.text, "2+2?") << row;
    EXPECT_EQ(problems[0].prompt.answer, "4") << row;
  }
}

TEST(ParseProblems, VerlsLayoutIsMapped) {
  const auto problems = parse_problems(
      R"({"data_source": "gsm8k", "prompt": [{"role": "user", "content": "2+2?"}], )"
      R"("ability": "math", "reward_model": {"style": "rule", "ground_truth": "4"}, )"
      R"("extra_info": {"split": "train", "index": 7}})",
      "f", {.layout = "verl", .columns = {}});
  EXPECT_EQ(problems[0].prompt.answer, "4");
  EXPECT_EQ(problems[0].prompt.columns["data_source"], "gsm8k");
  EXPECT_EQ(problems[0].prompt.columns["reward_model"]["style"], "rule");
}

TEST(ParseProblems, OpenR1sLayoutAndOwnColumns) {
  EXPECT_EQ(parse_problems(R"({"problem": "2+2?", "solution": "$4$"})", "f",
                           {.layout = "open_r1", .columns = {}})[0]
                .prompt.answer,
            "$4$");
  const auto own = parse_problems(
      R"({"q": {"text": "2+2?"}, "gold": [4], "key": 12, "judges": ["math"]})", "f",
      {.layout = "trl",
       .columns = {.prompt = "q.text", .answer = "gold", .id = "key", .rewards = "judges"}});
  EXPECT_EQ(own[0].prompt.text, "2+2?");
  EXPECT_EQ(own[0].prompt.answer, Json::parse("[4]"));
  EXPECT_EQ(own[0].prompt.id, "12");
  EXPECT_EQ(own[0].prompt.rewards, std::vector<std::string>{"math"});
  try {
    parse_problems(R"({"prompt": "x"})", "f", {.layout = "trl", .columns = {.prompt = "q.text"}});
    ADD_FAILURE() << "no error";
  } catch (const core::UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("the key q.text is missing"));
  }
}

TEST(ReadProblems, AFolderIsReadSplitBySplit) {
  const test::TempDir folder;
  std::filesystem::create_directory(folder.path() / "data");
  const auto write = [&](const char* name, const char* text) {
    std::ofstream(folder.path() / name) << text;
  };
  write("data/train-00001-of-00002.jsonl", R"({"prompt": "b"})");
  write("data/train-00000-of-00002.jsonl", R"({"prompt": "a"})");
  write("data/test.jsonl", R"({"prompt": "t"})");
  write("README.md", "words");
  const auto train = read_problems(folder.path(), "train", {});
  ASSERT_EQ(train.size(), 2u);
  EXPECT_EQ(train[0].prompt.text, "a");
  EXPECT_EQ(train[1].prompt.text, "b");
  EXPECT_NE(train[0].prompt.id, train[1].prompt.id);
  EXPECT_EQ(read_problems(folder.path(), "test", {})[0].prompt.text, "t");
  EXPECT_THROW(read_problems(folder.path(), "validation", {}), core::UserError);
}

TEST(ReadProblems, WithoutTheProgramForParquetTheRemedyIsSaid) {
  const test::TempDir folder;
  const auto path = folder.path() / "x.parquet";
  std::ofstream(path) << "PAR1";
  ::setenv("PONDER_PARQUET", "/nowhere/ponder-parquet", 1);
  try {
    read_problems(path, "train", {});
    ADD_FAILURE() << "no error";
  } catch (const core::UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("run tools/parquet once"));
  }
  // One that refuses: its line is the error.
  const auto program = folder.path() / "refuses";
  std::ofstream(program) << "#!/bin/sh\necho 'no magic bytes' >&2\nexit 1\n";
  std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  ::setenv("PONDER_PARQUET", program.c_str(), 1);
  try {
    read_problems(path, "train", {});
    ADD_FAILURE() << "no error";
  } catch (const core::UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("x.parquet: no magic bytes"));
  }
  ::unsetenv("PONDER_PARQUET");
}

TEST(ReadPrompts, MissingFileIsNamed) {
  EXPECT_THROW(read_prompts("/nowhere/x.jsonl"), core::UserError);
}

}  // namespace
}  // namespace ponder::data
