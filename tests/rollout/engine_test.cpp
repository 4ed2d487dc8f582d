#include "rollout/engine.h"

#include <set>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "policy/ops.h"
#include "tests/rollout/letters.h"
#include "tests/support/tiny_model.h"

namespace ponder::rollout {
namespace {

std::vector<data::Prompt> some_prompts(int count) {
  std::vector<data::Prompt> prompts;
  for (int i = 0; i < count; ++i) {
    data::Prompt prompt;
    prompt.id = fmt::format("p{}", i);
    for (int t = 0; t <= i % 6; ++t) prompt.token_ids.push_back((7 * i + 3 * t + 2) % 50);
    prompts.push_back(prompt);
  }
  return prompts;
}

struct World {
  policy::Model model = test::tiny_model();
  policy::Tokenizer tokenizer = letters();
  std::vector<data::Group> run(const std::vector<data::Prompt>& prompts, SampleOptions options,
                               EngineOptions engine = {}, const OnCompletion& on_completion = {}) {
    return Engine(model, tokenizer, engine).generate(prompts, options, 0, on_completion);
  }
};

TEST(Engine, LogprobsAreTheTrainersOwn) {
  World world;
  const auto groups =
      world.run(some_prompts(9), {.num_generations = 3, .max_completion_length = 20});
  const at::NoGradGuard no_grad;
  for (const data::Group& group : groups) {
    for (const data::Completion& completion : group.completions) {
      std::vector<int64_t> tokens(group.prompt.token_ids.begin(), group.prompt.token_ids.end());
      const int64_t prompt = static_cast<int64_t>(tokens.size());
      tokens.insert(tokens.end(), completion.token_ids.begin(), completion.token_ids.end());
      const auto total = static_cast<int64_t>(tokens.size());
      const at::Tensor ids = at::tensor(tokens);
      const at::Tensor hidden = world.model.forward(
          {ids, at::arange(total, at::kLong), {0, static_cast<int32_t>(total)}});
      const at::Tensor want = policy::token_logprobs(hidden.narrow(0, prompt - 1, total - prompt),
                                                     world.model.output_weight(),
                                                     ids.narrow(0, prompt, total - prompt), 1.0)
                                  .logprobs;
      for (int64_t i = 0; i < total - prompt; ++i)
        EXPECT_NEAR(completion.logprobs[i], want[i].item<float>(), 1e-5);
    }
  }
}

// The trainer's hidden states of a prompt and its completion.
at::Tensor trainers_states(const policy::Model& model, const std::vector<int64_t>& tokens,
                           const at::Tensor& experts = {}) {
  const at::NoGradGuard no_grad;
  const auto total = static_cast<int64_t>(tokens.size());
  return model.forward({.token_ids = at::tensor(tokens),
                        .positions = at::arange(total, at::kLong),
                        .cu_seqlens = {0, static_cast<int32_t>(total)},
                        .experts = experts});
}

std::vector<int64_t> tokens_of(const data::Prompt& prompt, const data::Completion& completion) {
  std::vector<int64_t> tokens(prompt.token_ids.begin(), prompt.token_ids.end());
  tokens.insert(tokens.end(), completion.token_ids.begin(), completion.token_ids.end());
  return tokens;
}

// From the trainer's logits in float64: the most likely tokens until their mass reaches top_p.
std::set<int32_t> nucleus(const at::Tensor& logits, double top_p) {
  const at::Tensor p = at::softmax(logits.to(at::kDouble), 0);
  const auto [sorted, order] = p.sort(/*stable=*/true, 0, /*descending=*/true);
  std::set<int32_t> kept;
  double mass = 0;
  for (int64_t i = 0; mass < top_p; ++i) {
    kept.insert(static_cast<int32_t>(order[i].item<int64_t>()));
    mass += sorted[i].item<double>();
  }
  return kept;
}

TEST(Engine, RecordsTheTokensThatTopPLeft) {
  World world;
  const auto groups = world.run(some_prompts(5), {.rule = {.top_p = 0.7},
                                                  .num_generations = 3,
                                                  .max_completion_length = 20,
                                                  .keep_sampling_mask = true});
  for (const data::Group& group : groups) {
    for (const data::Completion& completion : group.completions) {
      const at::Tensor hidden = trainers_states(world.model, tokens_of(group.prompt, completion));
      ASSERT_EQ(completion.kept_counts.size(), completion.token_ids.size());
      auto first = completion.kept_ids.begin();
      for (size_t i = 0; i < completion.token_ids.size(); ++i) {
        const auto row = static_cast<int64_t>(group.prompt.token_ids.size() + i) - 1;
        const std::vector<int32_t> kept(first, first + completion.kept_counts[i]);
        first += completion.kept_counts[i];
        EXPECT_TRUE(std::is_sorted(kept.begin(), kept.end()));
        EXPECT_EQ(std::set<int32_t>(kept.begin(), kept.end()),
                  nucleus(at::mv(world.model.output_weight(), hidden[row]), 0.7));
      }
      EXPECT_EQ(first, completion.kept_ids.end());
    }
  }
  // Nothing left out: no ids; not asked for: no counts.
  const auto whole = world.run(some_prompts(1), {.keep_sampling_mask = true});
  EXPECT_TRUE(whole[0].completions[0].kept_ids.empty());
  EXPECT_EQ(whole[0].completions[0].kept_counts.size(), whole[0].completions[0].token_ids.size());
  EXPECT_TRUE(world.run(some_prompts(1), {})[0].completions[0].kept_counts.empty());
}

TEST(Engine, RecordsTheExpertsOfEveryTokenButTheLast) {
  World world;
  const SampleOptions options{
      .num_generations = 3, .max_completion_length = 20, .keep_routing = true};
  const auto groups = world.run(some_prompts(5), options);
  // Preempted, in chunks, with guesses asked for: the same record.
  Engine tight(world.model, world.tokenizer,
               {.kv_cache_bytes = 8 * 16 * 24 * 2 * 4, .prefill_tokens_max = 3, .guess_tokens = 3});
  const auto again = tight.generate(some_prompts(5), options);
  for (size_t i = 0; i < groups.size(); ++i) {
    for (size_t j = 0; j < 3; ++j) {
      const data::Completion& completion = groups[i].completions[j];
      EXPECT_EQ(completion.experts, again[i].completions[j].experts);
      const std::vector<int64_t> tokens = tokens_of(groups[i].prompt, completion);
      const auto total = static_cast<int64_t>(tokens.size());
      ASSERT_EQ(static_cast<int64_t>(completion.experts.size()), total * 2);
      const at::Tensor recorded = at::tensor(completion.experts, at::kShort).view({total, 2});
      EXPECT_TRUE(recorded.narrow(0, 0, total - 1).ge(0).all().item<bool>());
      EXPECT_TRUE(recorded[total - 1].eq(-1).all().item<bool>());
      // On-policy the trainer chooses the same.
      EXPECT_TRUE(at::equal(trainers_states(world.model, tokens, recorded),
                            trainers_states(world.model, tokens)));
    }
  }
}

// The bytes that the tiny model's cache takes for a block of sixteen tokens.
constexpr int64_t kBlockBytes = 16 * 24 * 2 * 4;

TEST(Engine, CompletionsDoNotDependOnTheBatch) {
  World world;
  const SampleOptions options{.num_generations = 4, .max_completion_length = 30, .seed = 7};
  const auto together = world.run(some_prompts(8), options);
  const auto narrow =
      world.run(some_prompts(8), options, {.max_running = 3, .prefill_tokens_max = 5});
  auto shuffled = some_prompts(8);
  std::swap(shuffled[0], shuffled[6]);
  std::swap(shuffled[2], shuffled[5]);
  auto other = world.run(shuffled, options, {.block_size = 8, .prefill_tokens_max = 1});
  std::swap(other[0], other[6]);
  std::swap(other[2], other[5]);
  // Eight blocks: sequences step back and are computed again.
  Engine tight(world.model, world.tokenizer, {.kv_cache_bytes = 8 * kBlockBytes});
  auto preempted = tight.generate(some_prompts(8), options);
  EXPECT_GT(tight.stats().preemptions, 0);
  for (size_t i = 0; i < together.size(); ++i) {
    const auto alone = world.run({some_prompts(8)[i]}, options);
    for (size_t j = 0; j < 4; ++j) {
      const auto& want = together[i].completions[j];
      for (const data::Group& group : {narrow[i], other[i], preempted[i], alone[0]})
        EXPECT_EQ(want.token_ids, group.completions[j].token_ids);
    }
  }
}

TEST(Engine, SeedRoundAndSampleGiveOtherCompletions) {
  World world;
  SampleOptions options{.num_generations = 2, .max_completion_length = 20};
  const auto first = world.run(some_prompts(1), options);
  EXPECT_NE(first[0].completions[0].token_ids, first[0].completions[1].token_ids);
  options.round = 1;
  EXPECT_NE(first[0].completions[0].token_ids,
            world.run(some_prompts(1), options)[0].completions[0].token_ids);
  options.round = 0;
  options.seed = 2;
  EXPECT_NE(first[0].completions[0].token_ids,
            world.run(some_prompts(1), options)[0].completions[0].token_ids);
}

TEST(Engine, EndsAtStopTokensAndAtTheLimits) {
  World world;
  const auto groups =
      world.run(some_prompts(20),
                {.num_generations = 4, .max_completion_length = 12, .stop_token_ids = {5, 9}});
  int stopped = 0;
  for (const auto& group : groups) {
    for (const auto& completion : group.completions) {
      const int32_t last = completion.token_ids.back();
      const bool is_stop = last == 1 || last == 5 || last == 9;  // 1 is the model's end-of-sequence
      EXPECT_EQ(completion.finish_reason,
                is_stop ? data::FinishReason::kStop : data::FinishReason::kLength);
      if (!is_stop) {
        EXPECT_EQ(completion.token_ids.size(), 12u);
      }
      EXPECT_EQ(completion.text.size(), completion.token_ids.size() - (is_stop ? 1 : 0));
      EXPECT_EQ(completion.logprobs.size(), completion.token_ids.size());
      stopped += is_stop;
    }
  }
  EXPECT_GT(stopped, 5);
}

TEST(Engine, StopsAtTheContextsEnd) {
  World world;
  data::Prompt prompt;
  prompt.id = "long";
  prompt.token_ids.assign(60, 3);  // the context is 64
  const auto groups = world.run({prompt}, {.num_generations = 8, .max_completion_length = 100});
  for (const auto& completion : groups[0].completions) EXPECT_LE(completion.token_ids.size(), 4u);
  prompt.token_ids.assign(64, 3);
  EXPECT_THROW(world.run({prompt}, {}), core::UserError);
  prompt.token_ids.clear();
  EXPECT_THROW(world.run({prompt}, {}), core::UserError);
}

TEST(Engine, GreedyTakesTheMostLikely) {
  World world;
  const auto groups =
      world.run(some_prompts(3),
                {.rule = {.temperature = 0}, .num_generations = 2, .max_completion_length = 6});
  for (const auto& group : groups)
    EXPECT_EQ(group.completions[0].token_ids, group.completions[1].token_ids);
}

TEST(Engine, ReportsEachCompletionOnceAsItEnds) {
  World world;
  std::set<std::pair<size_t, size_t>> seen;
  const auto groups =
      world.run(some_prompts(5), {.num_generations = 3, .max_completion_length = 15}, {},
                [&](size_t i, size_t j, const data::Completion& completion) {
                  EXPECT_TRUE(seen.insert({i, j}).second);
                  EXPECT_FALSE(completion.token_ids.empty());
                });
  EXPECT_EQ(seen.size(), 15u);
}

TEST(Engine, RefusesABudgetThatHoldsNoSequence) {
  World world;
  EXPECT_THROW(Engine(world.model, world.tokenizer, {.kv_cache_bytes = 1000}), core::UserError);
  Engine small(world.model, world.tokenizer, {.kv_cache_bytes = 2 * kBlockBytes});
  EXPECT_EQ(small.generate(some_prompts(1), {.max_completion_length = 8}).size(), 1u);
  EXPECT_THROW(small.generate(some_prompts(1), {.max_completion_length = 40}), core::UserError);
}

TEST(Engine, RefusesATokenOutsideTheVocabulary) {
  World world;
  auto prompts = some_prompts(1);
  prompts[0].token_ids = {3, 50};
  EXPECT_THROW(world.run(prompts, {}), core::UserError);
  prompts[0].token_ids = {-1};
  EXPECT_THROW(world.run(prompts, {}), core::UserError);
}

}  // namespace
}  // namespace ponder::rollout
