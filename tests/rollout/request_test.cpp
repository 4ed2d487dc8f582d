// The engine's incremental face: submit, step, cancel, deadlines, pauses.
#include <cmath>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "rollout/engine.h"
#include "tests/rollout/letters.h"
#include "tests/support/tiny_model.h"

namespace ponder::rollout {
namespace {

using ::testing::HasSubstr;

data::Prompt prompt(const std::string& id, std::vector<int32_t> tokens) {
  data::Prompt out;
  out.id = id;
  out.token_ids = std::move(tokens);
  return out;
}

struct World {
  policy::Model model = test::tiny_model();
  policy::Tokenizer tokenizer = letters();
  Engine engine = Engine(model, tokenizer, {});

  std::vector<data::Completion> finish(Request request) {
    return engine.generate({std::move(request)})[0].completions;
  }
};

TEST(Request, EventsPutTogetherAreTheCompletion) {
  World world;
  Request request{.prompt = prompt("a", {3, 4}),
                  .options = {.num_generations = 3, .max_completion_length = 25, .seed = 3}};
  const auto want = world.finish(request);
  std::vector<std::string> texts(3);
  std::vector<std::vector<int32_t>> tokens(3);
  std::vector<data::Completion> got(3);
  request.num_top_logprobs = 4;
  request.on_token = [&](const TokenEvent& event) {
    texts[event.sample] += event.text;
    tokens[event.sample].push_back(event.token);
    ASSERT_TRUE(event.logprobs);
    EXPECT_EQ(event.logprobs->chosen.token, event.token);
    ASSERT_EQ(event.logprobs->top.size(), 4u);
    EXPECT_GE(event.logprobs->top[0].logprob, event.logprobs->top[1].logprob);
  };
  request.on_completion = [&](size_t, size_t sample, const data::Completion& completion) {
    got[sample] = completion;
  };
  world.engine.submit(request);
  EXPECT_TRUE(world.engine.busy());
  while (world.engine.step()) {
  }
  EXPECT_FALSE(world.engine.busy());
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(got[i].token_ids, want[i].token_ids);
    EXPECT_EQ(tokens[i], want[i].token_ids);
    EXPECT_EQ(texts[i], want[i].text);
    EXPECT_EQ(got[i].text, want[i].text);
  }
}

TEST(Request, RequestsWithTheirOwnOptionsRunTogetherAsAlone) {
  World world;
  const Request greedy{.prompt = prompt("g", {5, 6, 7}),
                       .options = {.rule = {.temperature = 0}, .max_completion_length = 20}};
  const Request hot{.prompt = prompt("h", {8}),
                    .options = {.rule = {.temperature = 2, .top_k = 5},
                                .num_generations = 4,
                                .max_completion_length = 11,
                                .seed = 9}};
  const auto together = world.engine.generate({greedy, hot});
  EXPECT_EQ(together[0].completions[0].token_ids, world.finish(greedy)[0].token_ids);
  const auto alone = world.finish(hot);
  for (size_t i = 0; i < 4; ++i)
    EXPECT_EQ(together[1].completions[i].token_ids, alone[i].token_ids);
}

// What the model said when it sampled the tokens is what it says of them as a prompt.
TEST(Request, PromptsAreScoredAsTheirTokensWereSampled) {
  World world;
  Request first{.prompt = prompt("a", {3}), .options = {.max_completion_length = 20, .seed = 5}};
  std::vector<TopLogprobs> want;
  first.options.ignore_eos = true;
  first.num_top_logprobs = 2;
  first.on_token = [&](const TokenEvent& event) { want.push_back(*event.logprobs); };
  std::vector<int32_t> tokens = world.finish(first)[0].token_ids;
  tokens.insert(tokens.begin(), 3);
  for (const int64_t pass : {int64_t{512}, int64_t{7}}) {
    Engine engine(world.model, world.tokenizer, {.prefill_tokens_max = pass});
    std::vector<TopLogprobs> got;
    int calls = 0;
    bool begun = false;
    Request second{.prompt = prompt("b", tokens),
                   .options = {.num_generations = 3, .max_completion_length = 2}};
    second.num_prompt_logprobs = 2;
    second.on_prompt = [&](const std::vector<TopLogprobs>& scores) {
      got = scores;
      ++calls;
      EXPECT_FALSE(begun) << "before the first token";
    };
    second.on_token = [&](const TokenEvent&) { begun = true; };
    engine.generate({second});
    EXPECT_EQ(calls, 1);
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].chosen.token, tokens[i + 1]);
      EXPECT_NEAR(got[i].chosen.logprob, want[i].chosen.logprob, 1e-5);
      ASSERT_EQ(got[i].top.size(), 2u);
      EXPECT_EQ(got[i].top[0].token, want[i].top[0].token);
    }
  }
}

TEST(Request, APromptOfOneTokenHasNoScores) {
  World world;
  int calls = 0;
  Request request{.prompt = prompt("a", {3}), .options = {.max_completion_length = 2}};
  request.num_prompt_logprobs = 2;
  request.on_prompt = [&](const std::vector<TopLogprobs>& scores) {
    ++calls;
    EXPECT_TRUE(scores.empty());
  };
  world.finish(request);
  EXPECT_EQ(calls, 1);
}

// A model whose logits are not finite once the token 9 has come.
struct Broken : World {
  Broken() {
    const at::NoGradGuard no_grad;
    for (const policy::Parameter& p : model.parameters())
      if (p.name == "model.embed_tokens.weight") p.tensor[9].fill_(NAN);
  }
  Request request(const std::string& id, std::vector<int32_t> tokens) {
    return {.prompt = prompt(id, std::move(tokens)),
            .options = {.num_generations = 3, .max_completion_length = 20, .ignore_eos = true}};
  }
};

TEST(Request, LogitsThatAreNotFiniteEndItAlone) {
  for (const bool scored : {false, true}) {
    SCOPED_TRACE(scored);
    Broken world;
    Request sound = world.request("sound", {3, 4}), bad = world.request("bad", {3, 9, 4});
    sound.options.rule.logit_bias = bad.options.rule.logit_bias = {{9, -100}};
    const auto want = world.finish(sound);
    std::vector<data::Completion> got(3);
    sound.on_completion = [&](size_t, size_t sample, const data::Completion& completion) {
      got[sample] = completion;
    };
    std::vector<std::string> failures;
    bad.on_failed = [&](const std::string& why) { failures.push_back(why); };
    bad.on_completion = [](size_t, size_t, const data::Completion&) { ADD_FAILURE(); };
    bad.num_top_logprobs = 2;
    if (scored) bad.num_prompt_logprobs = 2;
    bad.on_prompt = [](const std::vector<TopLogprobs>&) { ADD_FAILURE(); };
    world.engine.submit(sound);
    world.engine.submit(bad);
    while (world.engine.step()) {
    }
    ASSERT_EQ(failures.size(), 1u);
    EXPECT_THAT(failures[0], HasSubstr(scored ? "'bad': the model's logits are not finite at token "
                                                "2 of the prompt"
                                              : "'bad': the model's logits are not finite at token "
                                                "0 of sample 0"));
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(got[i].token_ids, want[i].token_ids);
    EXPECT_EQ(world.engine.stats().running + world.engine.stats().waiting, 0);
  }
}

TEST(Request, LogitsThatAreNotFiniteAreThrownWhereNobodyAsksForThem) {
  Broken world;
  Request sound = world.request("sound", {3, 4}), bad = world.request("bad", {9});
  sound.options.rule.logit_bias = {{9, -100}};
  const auto want = world.finish(sound);
  bad.on_failed = [](const std::string&) { ADD_FAILURE(); };
  EXPECT_THROW(world.engine.generate({sound, bad}), core::RunError);
  EXPECT_FALSE(world.engine.busy());
  bad.on_failed = {};
  std::vector<data::Completion> got(3);
  sound.on_completion = [&](size_t, size_t sample, const data::Completion& completion) {
    got[sample] = completion;
  };
  world.engine.submit(sound);
  world.engine.submit(bad);
  EXPECT_THROW(world.engine.step(), core::RunError);
  while (world.engine.step()) {
  }
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(got[i].token_ids, want[i].token_ids);
}

TEST(Request, CancelEndsItAloneEvenFromACallback) {
  World world;
  std::vector<data::Completion> kept, cancelled;
  Request first{.prompt = prompt("a", {3}),
                .options = {.max_completion_length = 30, .ignore_eos = true}};
  first.on_completion = [&](size_t, size_t, const data::Completion& c) { kept.push_back(c); };
  Request second = first;
  second.options.num_generations = 2;
  second.on_completion = [&](size_t, size_t, const data::Completion& c) { cancelled.push_back(c); };
  RequestId id = 0;
  int tokens = 0;
  second.on_token = [&](const TokenEvent&) {
    if (++tokens == 5) {
      EXPECT_TRUE(world.engine.cancel(id));
    }
  };
  world.engine.submit(first);
  id = world.engine.submit(second);
  while (world.engine.step()) {
  }
  ASSERT_EQ(cancelled.size(), 2u);
  for (const auto& completion : cancelled) {
    EXPECT_EQ(completion.finish_reason, data::FinishReason::kAborted);
    EXPECT_LE(completion.token_ids.size(), 3u);
    EXPECT_EQ(completion.text.size(), completion.token_ids.size());
  }
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].token_ids.size(), 30u);
  EXPECT_FALSE(world.engine.cancel(id));
  EXPECT_FALSE(world.engine.cancel(12345));
}

TEST(Request, DeadlineAbortsAndPauseTimePauses) {
  World world;
  Request request{.prompt = prompt("a", {3}),
                  .options = {.num_generations = 2, .ignore_eos = true}};
  request.deadline = Clock::now() - std::chrono::seconds(1);
  for (const auto& completion : world.finish(request)) {
    EXPECT_EQ(completion.finish_reason, data::FinishReason::kAborted);
    EXPECT_TRUE(completion.token_ids.empty());
  }
  request.pause_at = request.deadline;
  request.deadline.reset();
  for (const auto& completion : world.finish(request))
    EXPECT_EQ(completion.finish_reason, data::FinishReason::kPaused);
}

TEST(Request, PausedCompletionsGoOnAsIfNothingHadHappened) {
  World world;
  Request request{.prompt = prompt("a", {3, 9, 2}),
                  .options = {.num_generations = 5, .max_completion_length = 40, .seed = 11}};
  const auto want = world.finish(request);
  request.pause_after = 7;
  int rounds = 0;
  for (bool open = true; open; ++rounds) {
    ASSERT_LT(rounds, 20);
    request.policy_version = rounds;
    request.begun = world.finish(request);
    open = false;
    for (const auto& completion : request.begun)
      open |= completion.finish_reason == data::FinishReason::kPaused;
  }
  EXPECT_GT(rounds, 2);
  for (size_t i = 0; i < want.size(); ++i) {
    const auto& got = request.begun[i];
    EXPECT_EQ(got.token_ids, want[i].token_ids);
    EXPECT_EQ(got.finish_reason, want[i].finish_reason);
    EXPECT_EQ(got.text, want[i].text);
    ASSERT_EQ(got.logprobs.size(), want[i].logprobs.size());
    ASSERT_EQ(got.token_versions.size(), got.token_ids.size());
    for (size_t t = 0; t < got.token_ids.size(); ++t) {
      EXPECT_NEAR(got.logprobs[t], want[i].logprobs[t], 1e-5);
      EXPECT_EQ(got.token_versions[t], static_cast<int64_t>(t / 7));
    }
  }
}

TEST(Request, GoesOnUnderNewWeights) {
  World world;
  Request request{.prompt = prompt("a", {3, 9}),
                  .options = {.max_completion_length = 30, .seed = 2, .ignore_eos = true}};
  request.pause_after = 10;
  request.begun = world.finish(request);
  const std::vector<int32_t> first = request.begun[0].token_ids;
  {
    const at::NoGradGuard no_grad;
    for (const policy::Parameter& p : world.model.parameters())
      if (p.tensor.dim() == 2) p.tensor.mul_(1.5);
  }
  request.pause_after = 0;
  request.policy_version = 1;
  const data::Completion after = world.finish(request)[0];
  // Its prompt extended by what was kept, sampled afresh, gives the same logits: the cache of the
  // old weights has played no part.
  Request twin{.prompt = prompt("b", {3, 9}), .options = request.options};
  twin.options.rule.temperature = 0;
  twin.prompt.token_ids.insert(twin.prompt.token_ids.end(), after.token_ids.begin(),
                               after.token_ids.begin() + 10);
  twin.options.max_completion_length = 1;
  twin.num_top_logprobs = 50;
  std::vector<TokenLogprob> all;
  twin.on_token = [&](const TokenEvent& event) { all = event.logprobs->top; };
  world.finish(twin);
  ASSERT_EQ(all.size(), 50u);
  for (const TokenLogprob& one : all) {
    if (one.token == after.token_ids[10]) {
      EXPECT_NEAR(one.logprob, after.logprobs[10], 1e-5);
    }
  }
  EXPECT_EQ(std::vector<int32_t>(after.token_ids.begin(), after.token_ids.begin() + 10), first);
  EXPECT_EQ(after.token_versions[9], 0);
  EXPECT_EQ(after.token_versions[10], 1);
  EXPECT_EQ(after.policy_version, 0);
}

TEST(Request, StopStringsEndAcrossTokens) {
  World world;
  Request request{.prompt = prompt("a", {3}),
                  .options = {.max_completion_length = 40, .seed = 5, .ignore_eos = true}};
  const data::Completion whole = world.finish(request)[0];
  ASSERT_EQ(whole.text.size(), 40u);
  const std::string stop = whole.text.substr(20, 3);
  const size_t place = whole.text.find(stop);
  request.options.stop = {"no such text", stop};
  const data::Completion cut = world.finish(request)[0];
  EXPECT_EQ(cut.finish_reason, data::FinishReason::kStop);
  EXPECT_EQ(cut.text, whole.text.substr(0, place));
  EXPECT_EQ(cut.token_ids.size(), place + 3);
}

TEST(Request, NoStopTokenBeforeTheMinimum) {
  World world;
  Request request{.prompt = prompt("a", {3}),
                  .options = {.num_generations = 40,
                              .max_completion_length = 30,
                              .min_completion_length = 12,
                              .stop_token_ids = {4, 5, 6, 7, 8, 9}}};
  bool stopped_at_once = false;
  for (const auto& completion : world.finish(request)) {
    EXPECT_GE(completion.token_ids.size(), 13u);
    for (size_t i = 0; i < 12; ++i) {
      const int32_t t = completion.token_ids[i];
      EXPECT_FALSE(t == 1 || (t >= 4 && t <= 9));
      // The plain policy would have drawn it less often: the two log-probs differ.
      EXPECT_GT(completion.sampling_logprobs[i], completion.logprobs[i]);
    }
    stopped_at_once |= completion.token_ids.size() == 13;
  }
  EXPECT_TRUE(stopped_at_once);
}

TEST(Request, AThrowingCallbackLeavesTheEngineUsable) {
  World world;
  const std::vector<data::Prompt> prompts = {prompt("a", {3}), prompt("b", {4})};
  const SampleOptions options{.num_generations = 2, .max_completion_length = 9};
  const auto want = world.engine.generate(prompts, options);
  EXPECT_THROW(world.engine.generate(prompts, options, 0,
                                     [](size_t, size_t, const data::Completion&) {
                                       throw std::runtime_error("stop");
                                     }),
               std::runtime_error);
  EXPECT_FALSE(world.engine.busy());
  const auto got = world.engine.generate(prompts, options);
  for (size_t i = 0; i < 2; ++i)
    EXPECT_EQ(got[i].completions[1].token_ids, want[i].completions[1].token_ids);
}

TEST(Request, GuessingAheadChangesNothing) {
  World world;
  // Repetitive: a cold distribution over few tokens soon repeats itself.
  std::vector<Request> requests;
  for (int i = 0; i < 4; ++i) {
    Request request{.prompt = prompt(fmt::format("p{}", i), {3, 4, 5, 3, 4, 5, 3, 4}),
                    .options = {.rule = {.temperature = i == 0 ? 0.0 : 0.3 * i},
                                .num_generations = 3,
                                .max_completion_length = 30,
                                .seed = 4,
                                .ignore_eos = i % 2 == 0}};
    if (i == 3) request.options.rule.repetition_penalty = 1.2;
    requests.push_back(request);
  }
  const auto want = world.engine.generate(requests);
  for (const int64_t guesses : {1, 3, 7}) {
    Engine engine(world.model, world.tokenizer,
                  {.speculation = Speculation::kPromptLookup,
                   .guess_tokens = guesses,
                   .guess_running_max = 100});
    const auto got = engine.generate(requests);
    for (size_t i = 0; i < want.size(); ++i) {
      for (size_t j = 0; j < 3; ++j) {
        EXPECT_EQ(got[i].completions[j].token_ids, want[i].completions[j].token_ids);
        EXPECT_EQ(got[i].completions[j].logprobs, want[i].completions[j].logprobs);
        EXPECT_EQ(got[i].completions[j].text, want[i].completions[j].text);
      }
    }
    EXPECT_GT(engine.stats().right_guesses, 0);
    EXPECT_LE(engine.stats().passes, world.engine.stats().passes);
  }
}

}  // namespace
}  // namespace ponder::rollout
