// Servers as engines: what they are asked, and what is made of the odd things that they answer.
#include <csignal>
#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/stop.h"
#include "rollout/remote/choice_reader.h"
#include "rollout/remote/remote_engine.h"
#include "tests/rollout/bytes.h"
#include "tests/rollout/letters.h"
#include "tests/support/http_server.h"

namespace ponder::rollout::remote {
namespace {

using nlohmann::json;

data::Completion read(const policy::Tokenizer& tokenizer, const json& more,
                      const SampleOptions& options = {}) {
  json choice = {{"text", "12"}, {"finish_reason", "stop"}};
  choice.update(more);
  ChoiceReader reader(tokenizer, "http://server/v1");
  return reader.read(reader.first_choice(json{{"choices", {choice}}}.dump()), options);
}

std::string refusal(const policy::Tokenizer& tokenizer, const json& more,
                    const SampleOptions& options = {}) {
  try {
    read(tokenizer, more, options);
  } catch (const core::RunError& error) {
    EXPECT_NE(std::string(error.what()).find("http://server/v1"), std::string::npos)
        << error.what();
    return error.what();
  }
  return "";
}

TEST(ChoiceReader, ReadsWhatLlamaServerGives) {
  const json entries =
      json::array({{{"id", 3},
                    {"token", "3"},
                    {"bytes", {51}},
                    {"logprob", -0.5},
                    {"top_logprobs", json::array()}},
                   {{"id", 7}, {"token", "7"}, {"bytes", {55}}, {"logprob", -0.25}}});
  const auto got = read(letters(), {{"logprobs", {{"content", entries}}}});
  EXPECT_EQ(got.token_ids, (std::vector<int32_t>{3, 7}));
  EXPECT_EQ(got.logprobs, (std::vector<float>{-0.5f, -0.25f}));
}

TEST(ChoiceReader, TellsPartsOfCharactersByTheirBytes) {
  const json entries = json::array({{{"token", "\uFFFD"}, {"bytes", {0xF0}}, {"logprob", -1}},
                                    {{"token", "\uFFFD"}, {"bytes", {0x9F}}, {"logprob", -1}}});
  EXPECT_EQ(read(byte_tokens(), {{"logprobs", {{"content", entries}}}}).token_ids,
            (std::vector<int32_t>{2, 3}));
}

TEST(ChoiceReader, RefusesTextsAloneAtTheFirstAnswerWhereTheyAreUnclear) {
  const json lists = {{"logprobs", {{"tokens", {"a"}}, {"token_logprobs", {-1}}}}};
  EXPECT_NE(refusal(byte_tokens(), lists).find("4 of the vocabulary's tokens share their text"),
            std::string::npos);
  const json clear = {{"logprobs", {{"tokens", {"1", "a"}}, {"token_logprobs", {-1, -1}}}}};
  EXPECT_EQ(read(letters(), clear).token_ids, (std::vector<int32_t>{1, letter_id('a')}));
}

TEST(ChoiceReader, NamesTheServerAndTheValueThatCannotBe) {
  const auto tokens = [](const std::string& text) {
    return json{{"logprobs", {{"tokens", {text}}, {"token_logprobs", {-1}}}}};
  };
  EXPECT_NE(refusal(letters(), tokens("token_id:99999999")).find("99999999"), std::string::npos);
  EXPECT_NE(refusal(letters(), tokens("token_id:-7")).find("-7"), std::string::npos);
  EXPECT_NE(refusal(letters(), tokens("token_id:abc")).find("token_id:abc"), std::string::npos);
  EXPECT_NE(refusal(letters(), tokens("token_id:")).find("a number"), std::string::npos);
  EXPECT_EQ(read(letters(), tokens("token_id:7")).token_ids, std::vector<int32_t>{7});
  const auto logprob = [](const json& value) {
    return json{{"token_ids", {3}}, {"token_logprobs", value}};
  };
  for (const json& wrong :
       {json{5.0}, json{-1e99}, json{nullptr}, json("abc"), json{{"a", -1}}, json{"x"}, json{{1}}})
    EXPECT_NE(refusal(letters(), logprob(wrong)).find("log-probs"), std::string::npos) << wrong;
  EXPECT_NE(refusal(letters(), logprob(json::array())).find("1 tokens and 0"), std::string::npos);
  for (const json& id : {json(50), json(-1), json(1e30), json("3"), json(UINT64_MAX)})
    EXPECT_NE(refusal(letters(), {{"token_ids", {id}}, {"token_logprobs", {-1}}}).find("token id"),
              std::string::npos)
        << id;
}

TEST(ChoiceReader, RefusesWhatIsNoAnswer) {
  const policy::Tokenizer tokenizer = letters();
  const ChoiceReader reader(tokenizer, "u");
  const std::string deep =
      "{\"choices\":[" + std::string(100000, '[') + std::string(100000, ']') + "]}";
  for (const std::string& body :
       {deep, std::string("<html>"), std::string("[]"), std::string(R"({"choices": null})"),
        std::string(R"({"choices": ["a"]})"), std::string(R"({"choices": []})")})
    EXPECT_THROW(reader.first_choice(body), core::RunError) << body.substr(0, 30);
}

TEST(ChoiceReader, SeesOptionsThatTheServerHasLeftOut) {
  const json three = {{"token_ids", {3, 4, 5}}, {"token_logprobs", {-1, -1, -1}}};
  EXPECT_NE(refusal(letters(), three, {.max_completion_length = 2}).find("2 were asked for"),
            std::string::npos);
  EXPECT_NE(refusal(letters(), three, {.min_completion_length = 4}).find("min_tokens"),
            std::string::npos);
  EXPECT_NE(refusal(letters(), three, {.stop_token_ids = {4}}).find("stop_token_ids"),
            std::string::npos);
  EXPECT_NE(refusal(letters(), three, {.ignore_eos = true}).find("ignore_eos"), std::string::npos);
  EXPECT_EQ(refusal(letters(), three, {.min_completion_length = 3, .stop_token_ids = {5}}), "");
}

TEST(RemoteEngine, SaysEveryOptionOrRefusesIt) {
  const policy::Tokenizer tokenizer = letters();
  const RemoteEngine engine(tokenizer, {.client = {.url = "http://x/v1"}});
  SampleOptions options{.min_completion_length = 4, .stop_token_ids = {7}, .ignore_eos = true};
  options.rule.logit_bias = {{5, -3.0f}};
  options.rule.presence_penalty = 0.5;
  options.rule.frequency_penalty = 0.25;
  options.rule.repetition_penalty = 1.5;
  const json body = json::parse(engine.request_body({}, options, 0));
  EXPECT_EQ(body["min_tokens"], 4);
  EXPECT_EQ(body["stop_token_ids"], json({7}));
  EXPECT_EQ(body["ignore_eos"], true);
  EXPECT_EQ(body["logit_bias"], json({{"5", -3.0}}));
  EXPECT_EQ(body["presence_penalty"], 0.5);
  EXPECT_EQ(body["frequency_penalty"], 0.25);
  EXPECT_EQ(body["repetition_penalty"], 1.5);
  const json plain = json::parse(engine.request_body({}, {}, 0));
  for (const char* name : {"min_tokens", "stop_token_ids", "ignore_eos", "logit_bias"})
    EXPECT_FALSE(plain.contains(name)) << name;
  options.rule.bad_words = {{1, 2}};
  EXPECT_THROW(engine.request_body({}, options, 0), core::UserError);
  options.rule.bad_words.clear();
  options.rule.logit_bias = {{5, -1000.0f}};
  EXPECT_THROW(engine.request_body({}, options, 0), core::UserError);
}

TEST(RemoteEngine, AStopEndsItWhileTheServerHangs) {
  std::atomic<bool> ends = false;
  test::HttpServer server([&](const test::HttpRequest&, test::HttpResponse&) {
    while (!ends) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  });
  const policy::Tokenizer tokenizer = letters();
  RemoteEngine engine(tokenizer,
                      {.client = {.url = fmt::format("http://127.0.0.1:{}/v1", server.port())}});
  core::catch_stop_signals();
  std::jthread killer([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    std::raise(SIGTERM);
  });
  data::Prompt prompt;
  prompt.token_ids = {1};
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THROW(engine.generate({prompt, prompt}, {.num_generations = 2}, 0, {}), core::RunError);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(6));
  ends = true;
}

}  // namespace
}  // namespace ponder::rollout::remote
