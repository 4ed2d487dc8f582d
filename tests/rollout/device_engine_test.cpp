// The engine over a model on a device, on the stand-in for a GPU.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "rollout/engine.h"
#include "tests/rollout/letters.h"
#include "tests/support/far_device.h"
#include "tests/support/tiny_model.h"

namespace ponder::rollout {
namespace {

policy::Model model_on(at::Device device) {
  return policy::Model::random(policy::parse_config(test::tiny_config_text(), "config.json"), 1,
                               at::kFloat, device);
}

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

// A small cache and few places: groups share their prompts' blocks, wait and are preempted.
TEST(EngineOnADevice, SamplesTheTokensOfTheCpu) {
  const policy::Model near = model_on(at::kCPU), far = model_on(test::kFar);
  const policy::Tokenizer tokenizer = letters();
  const SampleOptions options{.num_generations = 3, .max_completion_length = 20};
  EngineOptions engine;
  engine.block_size = 4;
  engine.max_running = 8;
  const auto want = Engine(near, tokenizer, engine).generate(some_prompts(7), options, 0),
             got = Engine(far, tokenizer, engine).generate(some_prompts(7), options, 0);
  for (size_t g = 0; g < want.size(); ++g) {
    for (size_t i = 0; i < 3; ++i) {
      const data::Completion &a = want[g].completions[i], &b = got[g].completions[i];
      ASSERT_EQ(a.token_ids, b.token_ids) << g << " " << i;
      for (size_t t = 0; t < a.logprobs.size(); ++t)
        EXPECT_NEAR(a.logprobs[t], b.logprobs[t], 1e-4);
    }
  }
}

TEST(EngineOnADevice, RefusesWhatOnlyTheCpuDoes) {
  const policy::Model far = model_on(test::kFar);
  const policy::Tokenizer tokenizer = letters();
  EngineOptions engine;
  engine.int8 = true;
  EXPECT_THROW(Engine(far, tokenizer, engine), core::UserError);
  const SampleOptions routed{.max_completion_length = 4, .keep_routing = true};
  EXPECT_THROW(Engine(far, tokenizer, {}).generate(some_prompts(1), routed, 0), core::UserError);
}

}  // namespace
}  // namespace ponder::rollout
