#include "recipes/prompts.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/temp_dir.h"

namespace ponder::recipes {
namespace {

using ::testing::HasSubstr;

const char* const kBase = "examples/tiny-v3-base";

const policy::Tokenizer& tokenizer() {
  static const policy::Tokenizer it = policy::Tokenizer::from_folder(kBase);
  return it;
}

std::string file_of(const test::TempDir& folder, int count) {
  const std::string path = folder.path() / "data.jsonl";
  std::ofstream file(path);
  for (int i = 0; i < count; ++i)
    file << R"({"prompt": "User: )" << i << R"(+1=?\nAssistant:", "answer": )" << i + 1 << "}\n";
  return path;
}

TEST(PromptSource, EpochsHoldEachPromptOnceInOrdersOfTheirOwn) {
  const test::TempDir folder;
  DatasetOptions options{.name = file_of(folder, 40)};
  PromptSource source(options, 1, tokenizer(), 128, kBase);
  const int64_t size = source.size();
  EXPECT_EQ(size + static_cast<int64_t>(source.held_out(100).size()), 40);
  std::vector<std::string> first, second;
  for (int64_t i = 0; i < size; ++i) first.push_back(source.at(i).id);
  for (int64_t i = 0; i < size; ++i) second.push_back(source.at(size + i).id);
  EXPECT_NE(first, second);
  EXPECT_THAT(first, ::testing::UnorderedElementsAreArray(second));
  // Any number at any time, as a resume needs it.
  EXPECT_EQ(PromptSource(options, 1, tokenizer(), 128, kBase).at(size + 3).id, second[3]);
  EXPECT_NE(PromptSource(options, 2, tokenizer(), 128, kBase).at(3).id +
                PromptSource(options, 2, tokenizer(), 128, kBase).at(4).id,
            first[3] + first[4]);
  options.shuffle = false;
  PromptSource plain(options, 1, tokenizer(), 128, kBase);
  int last = 0;
  for (int64_t i = 0; i < size; ++i) {
    EXPECT_GT(std::stoi(plain.at(i).id), last);
    last = std::stoi(plain.at(i).id);
  }
}

TEST(PromptSource, TheShareHeldOutIsTheRecipes) {
  const test::TempDir folder;
  const std::string path = file_of(folder, 300);
  for (const double share : {0.0, 0.1, 0.5}) {
    const PromptSource source({.name = path, .test_share = share}, 1, tokenizer(), 128, kBase);
    EXPECT_NEAR(static_cast<double>(source.held_out(300).size()) / 300, share, 0.08);
  }
}

TEST(PromptSource, KnowsWhereEachPromptStands) {
  const test::TempDir folder;
  const std::string path = file_of(folder, 30);
  const PromptSource source({.name = path}, 1, tokenizer(), 128, kBase);
  ASSERT_EQ(source.train_places().size(), source.train().size());
  for (size_t i = 0; i < source.train().size(); ++i)  // ids are line numbers here
    EXPECT_EQ(source.train_places()[i], path + ":" + source.train()[i].id);
  const auto held_out = source.held_out(100);
  ASSERT_EQ(source.held_out_places().size(), held_out.size());
  for (size_t i = 0; i < held_out.size(); ++i)
    EXPECT_EQ(source.held_out_places()[i], path + ":" + held_out[i].id);
}

TEST(Renderer, GivesTheRewardsAConversationAsMessages) {
  const auto messages = data::Json::parse(R"([{"role": "user", "content": "U"}])");
  data::Problem text, chat;
  text.prompt.text = "U";
  chat.messages = messages;
  const RenderChat own = [](const data::Json&) { return std::string("rendered"); };
  const auto columns = [&](const DatasetOptions& options, const data::Problem& problem,
                           bool question) {
    return Renderer(options, tokenizer(), own).render(problem, question).columns;
  };
  EXPECT_EQ(columns({}, chat, false).at("prompt"), messages);
  EXPECT_EQ(columns({.prompt_template = "{prompt}"}, chat, false).at("prompt"), messages);
  EXPECT_FALSE(columns({}, text, true).contains("prompt"));  // by the chat template, but a text
  EXPECT_FALSE(columns({}, text, false).contains("prompt"));
  EXPECT_FALSE(columns({.prompt_template = "{prompt}"}, text, false).contains("prompt"));
}

TEST(Renderer, PutsPromptsAsTheRecipeSays) {
  const auto messages = data::Json::parse(
      R"([{"role": "system", "content": "S"}, {"role": "user", "content": "U"}])");
  data::Problem text, chat;
  text.prompt.text = "T";
  chat.messages = messages;
  const RenderChat own = [](const data::Json& m) {
    std::string out;
    for (const data::Json& message : m)
      out += message["role"].get<std::string>() + "=" + message["content"].get<std::string>() + ";";
    return out;
  };
  const struct {
    const char* name;
    DatasetOptions options;
    data::Problem problem;
    bool question;
    RenderChat chat;
    const char* want;
  } cases[] = {
      {"text stays", {}, text, false, own, "T"},
      {"messages by the chat template", {}, chat, false, own, "system=S;user=U;"},
      {"a question by the chat template", {}, text, true, own, "user=T;"},
      {"a question without one", {}, text, true, {}, "User: T\nAssistant:"},
      {"a system prompt makes messages",
       {.system_prompt = "X"},
       text,
       false,
       own,
       "system=X;user=T;"},
      {"the row's own system prompt stays",
       {.system_prompt = "X"},
       chat,
       false,
       own,
       "system=S;user=U;"},
      {"a prompt template",
       {.prompt_template = "[{system}] {prompt}!"},
       chat,
       false,
       own,
       "[S] U!"},
      {"its places in the prompt are words",
       {.prompt_template = "{prompt}"},
       [] {
         data::Problem p;
         p.prompt.text = "a {system} {prompt}";
         return p;
       }(),
       false,
       own,
       "a {system} {prompt}"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const data::Prompt prompt =
        Renderer(c.options, tokenizer(), c.chat).render(c.problem, c.question);
    EXPECT_EQ(prompt.text, c.want);
    EXPECT_EQ(prompt.token_ids, tokenizer().encode(c.want));
  }
}

// As transformers' tokenizer(text), which TRL gives plain prompts to; templates of chats write
// their own.
TEST(Renderer, PlainTextGetsTheTokenizersSpecialTokensAndAChatNone) {
  const test::TempDir folder;
  nlohmann::json json =
      nlohmann::json::parse(std::ifstream(std::string(kBase) + "/tokenizer.json"));
  json["post_processor"] = nlohmann::json::parse(
      R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|begin_of_text|>",)"
      R"( "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id":)"
      R"( "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens":)"
      R"( {"<|begin_of_text|>": {"id": "<|begin_of_text|>", "ids": [0], "tokens":)"
      R"( ["<|begin_of_text|>"]}}})");
  std::ofstream(folder.path() / "tokenizer.json") << json;
  const policy::Tokenizer with_bos = policy::Tokenizer::from_folder(folder.path());
  data::Problem problem;
  problem.prompt.text = "1+2=?";
  const auto first = [&](const DatasetOptions& options, const RenderChat& chat) {
    return Renderer(options, with_bos, chat).render(problem, false).token_ids.at(0);
  };
  DatasetOptions filled, chatted;
  filled.prompt_template = "Q: {prompt}";
  chatted.system_prompt = "brief";
  EXPECT_EQ(first({}, {}), 0);
  EXPECT_EQ(first(filled, {}), 0);
  EXPECT_NE(first(chatted, [](const data::Json&) { return "<think>"; }), 0);
}

TEST(Renderer, SaysWhatIsMissing) {
  data::Problem chat;
  chat.prompt.id = "p7";
  chat.messages = data::Json::parse(R"([{"role": "user", "content": "U"}])");
  const DatasetOptions plain, odd{.prompt_template = "no place"};
  try {
    Renderer(plain, tokenizer(), {}).render(chat, false);
    ADD_FAILURE() << "no error";
  } catch (const core::UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("prompt 'p7' is messages"));
  }
  EXPECT_THROW(Renderer(odd, tokenizer(), {}), core::UserError);
}

}  // namespace
}  // namespace ponder::recipes
