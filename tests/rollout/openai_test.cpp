// OpenAI's words in and out, without a server and without a model.
#include "rollout/serve/openai.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/file.h"
#include "rollout/token_bytes.h"
#include "tests/rollout/bytes.h"

namespace ponder::rollout::serve {
namespace {

struct World {
  policy::Tokenizer tokenizer = byte_tokens();
  Served served{.name = "m",
                .tokenizer = tokenizer,
                .chat = policy::ChatTemplate::from_text(
                    "{% for m in messages %}{{ m.content }}{% endfor %}", "test", "."),
                .context = 100};

  std::string refusal(const std::string& body, bool is_chat = false) const {
    try {
      is_chat ? read_chat(body, served, 1) : read_completions(body, served, 1);
    } catch (const ApiError& error) {
      EXPECT_EQ(error.status, 400);
      return error.message;
    }
    return "";
  }
};

std::string nested(int depth) {
  return std::string(depth, '[') + std::string(depth, ']');
}

TEST(OpenAi, DeepBodiesAreRefusedBeforeAnythingWalksThroughThem) {
  const World world;
  for (const int depth : {1000, 60000, 300000}) {
    const std::string deep = nested(depth);
    for (const char* form : {R"({{"prompt": {}}})", R"({{"prompt": "a", "zzz": {}}})"})
      EXPECT_NE(world.refusal(fmt::format(fmt::runtime(form), deep)).find("nested deeper"),
                std::string::npos);
    for (const char* key : {"messages", "tools", "chat_template_kwargs", "response_format"})
      EXPECT_NE(
          world.refusal(fmt::format(R"({{"{}": {}}})", key, deep), true).find("nested deeper"),
          std::string::npos);
  }
  EXPECT_EQ(world.refusal(R"({"prompt": "a"})"), "");
}

TEST(OpenAi, ALengthThatNobodyNamesFitsTheCache) {
  World world;
  const std::string chat = R"({"messages": [{"role": "user", "content": "aaaa"}]})";
  const auto length = [&](const std::string& body) {
    return read_chat(body, world.served, 1).options.max_completion_length;
  };
  EXPECT_EQ(length(chat), 96);
  world.served.sequence_tokens_max = 30;
  EXPECT_EQ(length(chat), 26);
  EXPECT_EQ(length(R"({"messages": [{"role": "user", "content": "aaaa"}], "max_tokens": 50})"), 50);
}

TEST(OpenAi, TemperaturesThatNoFloatCanDivideByAreRefused) {
  const World world;
  EXPECT_NE(world.refusal(R"({"prompt": "a", "temperature": 1e-39})").find("temperature"),
            std::string::npos);
  EXPECT_EQ(world.refusal(R"({"prompt": "a", "temperature": 0})"), "");
  EXPECT_EQ(world.refusal(R"({"prompt": "a", "temperature": 0.001})"), "");
}

TEST(OpenAi, BadWordsBecomeTokens) {
  const World world;
  const auto words = read_completions(R"({"prompt": "a", "bad_words": ["aa"]})", world.served, 1)
                         .options.rule.bad_words;
  ASSERT_FALSE(words.empty());
  EXPECT_EQ(words[0], world.tokenizer.encode("aa"));
  EXPECT_FALSE(words[0].empty());
  EXPECT_NE(world.refusal(R"({"prompt": "a", "bad_words": [""]})"), "");
  EXPECT_NE(world.refusal(R"({"prompt": "a", "bad_words": [3]})"), "");
}

TEST(OpenAi, NoTokensAreAskedForOnlyWithEcho) {
  const World world;
  EXPECT_NE(world.refusal(R"({"prompt": "a", "max_tokens": 0})").find("echo"), std::string::npos);
  EXPECT_EQ(world.refusal(R"({"prompt": "a", "max_tokens": 0, "echo": true})"), "");
  EXPECT_NE(world.refusal(R"({"prompt": "a", "echo": true, "stream": true})").find("stream"),
            std::string::npos);
}

TEST(TokenBytes, AreTheTokensOwn) {
  const policy::Tokenizer tokens = byte_tokens();
  EXPECT_EQ(token_bytes(tokens, 0), "a");
  EXPECT_EQ(token_bytes(tokens, 2), "\xF0");
  EXPECT_EQ(token_name(tokens, 3), "bytes:\\x9f");
  EXPECT_EQ(token_bytes(tokens, 99), "");
}

// The ids' bytes put together are the text that the whole list decodes to.
TEST(TokenBytes, MakeUpTheTextOfPublishedTokenizers) {
  const std::string text = "a \xF0\x9F\x98\x80\xE4\xBD\xA0  b\n\xC3\xA9 c";
  for (const char* name : {"smollm2", "llama2", "llama3", "qwen2", "gpt2", "deepseek"}) {
    const std::string file = fmt::format("tests/golden/tokenizers/{}/tokenizer.json", name);
    const auto tokens = policy::Tokenizer::from_json(core::read_file(file, "tokenizer"), file);
    std::string bytes;
    for (const int32_t id : tokens.encode(text)) bytes += token_bytes(tokens, id);
    if (bytes.starts_with(' ')) bytes.erase(0, 1);  // llama2's dummy prefix
    EXPECT_EQ(bytes, text) << name;
  }
}

data::Completion completion(std::vector<int32_t> ids, std::string text) {
  data::Completion out;
  out.logprobs.assign(ids.size(), -1);
  out.token_ids = std::move(ids);
  out.text = std::move(text);
  return out;
}

// "a", and the emoji's bytes, each with the tokens 3 and 4 as the likeliest.
Json answered(const World& world, const ApiRequest& request,
              const std::vector<TopLogprobs>& prompt = {}) {
  Answer answer(request, world.served, "1");
  if (!prompt.empty()) answer.on_prompt(0, prompt);
  const std::vector<int32_t> ids = {0, 2, 3, 4, 5, 1};
  for (const int32_t id : ids)
    answer.token_events(
        0, {.token = id, .text = "", .logprobs = TopLogprobs{{id, -2}, {{3, -0.25}, {4, -3}}}});
  answer.end_events(0, 0, completion(ids, std::string("a") + kEmoji + "b"));
  return Json::parse(answer.whole());
}

TEST(Answer, PartsOfCharactersKeepTheirBytesAndTheirLogprobs) {
  const World world;
  const ApiRequest request = read_completions(R"({"prompt": "a", "logprobs": 2})", world.served, 1);
  const Json lists = answered(world, request)["choices"][0]["logprobs"];
  EXPECT_EQ(lists["tokens"],
            Json({"a", "bytes:\\xf0", "bytes:\\x9f", "bytes:\\x98", "bytes:\\x80", "b"}));
  const Json& first = lists["top_logprobs"][0];
  EXPECT_EQ(first, Json({{"bytes:\\x9f", -0.25}, {"bytes:\\x98", -3.0}, {"a", -2.0}}))
      << "both of the likeliest, and the one that was sampled";
  EXPECT_EQ(lists["top_logprobs"][2]["bytes:\\x9f"], -0.25);
  // In characters: all of the emoji's tokens begin at it.
  EXPECT_EQ(lists["text_offset"], Json({0, 1, 1, 1, 1, 2}));
}

TEST(Answer, ChatsGiveEachTokensOwnBytes) {
  const World world;
  const ApiRequest request = read_chat(
      R"({"messages": [{"role": "user", "content": "a"}], "logprobs": true, "top_logprobs": 2})",
      world.served, 1);
  const Json content = answered(world, request)["choices"][0]["logprobs"]["content"];
  std::string bytes;
  for (const Json& entry : content)
    for (const Json& byte : entry["bytes"]) bytes += static_cast<char>(byte.get<int>());
  EXPECT_EQ(bytes, std::string("a") + kEmoji + "b");
  EXPECT_EQ(content[1]["top_logprobs"][0]["bytes"], Json::array({0x9f}));
}

TEST(Answer, AnEchoBeginsWithThePromptWhoseFirstTokenHasNoLogprob) {
  const World world;
  const ApiRequest request = read_completions(
      R"({"prompt": "ab", "logprobs": 1, "echo": true, "max_tokens": 0})", world.served, 1);
  const Json choice = answered(world, request, {{{1, -0.5}, {{0, -0.1}}}})["choices"][0];
  EXPECT_EQ(choice["text"], "ab");
  EXPECT_EQ(choice["logprobs"]["tokens"], Json({"a", "b"}));
  EXPECT_EQ(choice["logprobs"]["token_logprobs"], Json({nullptr, -0.5}));
  EXPECT_EQ(choice["logprobs"]["top_logprobs"][1].size(), 2u);
  EXPECT_EQ(choice["logprobs"]["text_offset"], Json({0, 1}));
  const ApiRequest more = read_completions(
      R"({"prompt": "ab", "logprobs": 1, "echo": true, "max_tokens": 6})", world.served, 1);
  const Json both = answered(world, more, {{{1, -0.5}, {{0, -0.1}}}})["choices"][0];
  EXPECT_EQ(both["text"], std::string("aba") + kEmoji + "b");
  EXPECT_EQ(both["logprobs"]["text_offset"], Json({0, 1, 2, 3, 3, 3, 3, 4}));
}

TEST(Answer, IsDatedWhenItIsGiven) {
  const World world;
  const auto before = std::time(nullptr);
  EXPECT_GE(answered(world, read_completions(R"({"prompt": "a"})", world.served, 1))["created"],
            before);
}

}  // namespace
}  // namespace ponder::rollout::serve
