#include "policy/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "tests/fuzz/mutate.h"
#include "tests/support/temp_dir.h"

namespace ponder::policy {
namespace {

constexpr const char* kTurns =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}";

const OrderedJson kChat = OrderedJson::parse(
    R"([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes "}])");

class ChatTemplateTest : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((dir_.path() / name).parent_path());
    core::write_file_atomic(dir_.path() / name, text);
  }
  std::string render(const ChatOptions& options = {}) const {
    return ChatTemplate::load(dir_.path()).render(kChat, options).text;
  }
  std::string error(const ChatOptions& options = {}) const {
    try {
      render(options);
    } catch (const core::UserError& problem) {
      const std::string text = problem.what(), folder = dir_.path().string() + "/";
      const size_t at = text.find(folder);
      return at == std::string::npos ? text : text.substr(0, at) + text.substr(at + folder.size());
    }
    return "no error";
  }
  void write_config(const OrderedJson& chat_template) {
    write("tokenizer_config.json",
          OrderedJson({{"eos_token", {{"content", "</s>"}}}, {"chat_template", chat_template}})
              .dump());
  }
  test::TempDir dir_;
};

TEST_F(ChatTemplateTest, IsReadFromTheTokenizersSettings) {
  write_config(kTurns);
  EXPECT_EQ(render(), "<user>Hi</s><assistant>Yes </s>");
  ChatOptions options;
  options.add_generation_prompt = true;
  EXPECT_EQ(render(options), "<user>Hi</s><assistant>Yes </s><assistant>");
}

TEST_F(ChatTemplateTest, FilesComeBeforeTheSettings) {
  write_config(kTurns);
  write("chat_template.jinja", "file {{ messages|length }}\n");
  EXPECT_EQ(render(), "file 2");
}

TEST_F(ChatTemplateTest, ToolsChooseTheirTemplate) {
  write_config(OrderedJson::parse(
      R"([{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools {{ tools|length }}"}])"));
  EXPECT_EQ(render(), "plain");
  ChatOptions options;
  options.tools = OrderedJson::array({OrderedJson::object()});
  EXPECT_EQ(render(options), "tools 1");
  options.template_name = "default";
  EXPECT_EQ(render(options), "plain");
}

TEST_F(ChatTemplateTest, LeavesTheLastMessageOpen) {
  write_config(kTurns);
  ChatOptions options;
  options.continue_final_message = "content";
  EXPECT_EQ(render(options), "<user>Hi</s><assistant>Yes ");
}

TEST_F(ChatTemplateTest, VariablesReachTheTemplate) {
  write("chat_template.jinja", "{{ enable_thinking }}{{ eos_token }}");
  write("special_tokens_map.json", R"({"eos_token": "<end>"})");
  ChatOptions options;
  options.variables = {{"enable_thinking", false}};
  EXPECT_EQ(render(options), "False<end>");
}

TEST_F(ChatTemplateTest, WrongFilesAreNamed) {
  EXPECT_FALSE(ChatTemplate::exists(dir_.path()));
  EXPECT_THAT(error(), ::testing::HasSubstr("the model has no chat template"));
  write_config(5);
  EXPECT_EQ(error(),
            "tokenizer_config.json: chat_template: expected a text or a list of named templates");
  write_config(OrderedJson::parse(R"([{"name": "a"}])"));
  EXPECT_THAT(error(),
              ::testing::StartsWith(
                  "tokenizer_config.json: chat_template: expected objects with name and template"));
  write_config("a\n{% if %}");
  EXPECT_EQ(error(), "tokenizer_config.json: chat_template:2: expected an expression, found '%}'");
  write("tokenizer_config.json", "{");
  EXPECT_THAT(error(), ::testing::StartsWith("tokenizer_config.json: broken JSON"));
  write("tokenizer_config.json", R"({"chat_template": )" + fuzz::nested_lists(100'000) + "}");
  EXPECT_EQ(error(), "tokenizer_config.json: JSON that is nested deeper than 200");
}

TEST_F(ChatTemplateTest, WrongChatsAreRefused) {
  write_config(kTurns);
  const ChatTemplate chat = ChatTemplate::load(dir_.path());
  for (const char* messages : {"[]", "{}", "\"Hi\"", "[\"Hi\"]", "null"}) {
    SCOPED_TRACE(messages);
    EXPECT_THROW(chat.render(OrderedJson::parse(messages), {}), core::UserError);
  }
  ChatOptions options;
  options.template_name = "nothing";
  EXPECT_EQ(error(options), "no chat template is named 'nothing' (there is: default)");
  options = {};
  options.continue_final_message = "name";
  EXPECT_EQ(error(options), "continue_final_message: the last message has no 'name' to continue");
  options.continue_final_message = "content";
  options.add_generation_prompt = true;
  EXPECT_THAT(error(options), ::testing::HasSubstr("exclude each other"));
}

}  // namespace
}  // namespace ponder::policy
