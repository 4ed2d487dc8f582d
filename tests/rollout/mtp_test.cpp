// Self-speculative decoding: the completions are those without it, bit for bit, and the guesses are
// those of the modules for multi-token prediction as the trainer computes them.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "rollout/engine.h"
#include "tests/rollout/letters.h"
#include "tests/support/tiny_model.h"

namespace ponder::rollout {
namespace {

policy::Model model_with(int64_t modules, at::ScalarType dtype = at::kFloat) {
  const std::string changes = fmt::format(R"(, "num_nextn_predict_layers": {})", modules);
  return policy::Model::random(policy::parse_config(test::tiny_config_text(changes), "config.json"),
                               3, dtype);
}

EngineOptions mtp(int64_t guesses, int64_t running_max = 100) {
  return {
      .speculation = Speculation::kMtp, .guess_tokens = guesses, .guess_running_max = running_max};
}

std::vector<Request> mixed_requests() {
  std::vector<Request> out;
  for (int i = 0; i < 4; ++i) {
    Request request;
    request.prompt.id = fmt::format("p{}", i);
    for (int t = 0; t < 1 + 7 * i; ++t) request.prompt.token_ids.push_back(3 + (t * 5) % 40);
    request.options = {.rule = {.temperature = i == 0 ? 0.0 : 0.2 * i},
                       .num_generations = 3,
                       .max_completion_length = 30,
                       .seed = 4,
                       .ignore_eos = i % 2 == 0};
    if (i == 3) request.options.rule.repetition_penalty = 1.2;
    out.push_back(std::move(request));
  }
  return out;
}

void expect_same(const std::vector<data::Group>& got, const std::vector<data::Group>& want) {
  for (size_t i = 0; i < want.size(); ++i) {
    for (size_t j = 0; j < want[i].completions.size(); ++j) {
      SCOPED_TRACE(fmt::format("prompt {}, sample {}", i, j));
      const data::Completion &a = got[i].completions[j], &b = want[i].completions[j];
      EXPECT_EQ(a.token_ids, b.token_ids);
      EXPECT_EQ(a.logprobs, b.logprobs);
      EXPECT_EQ(a.sampling_logprobs, b.sampling_logprobs);
      EXPECT_EQ(a.finish_reason, b.finish_reason);
      EXPECT_EQ(a.text, b.text);
    }
  }
}

TEST(MtpSpeculation, ChangesNoBitOfACompletion) {
  const policy::Tokenizer tokenizer = letters();
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const int64_t modules : {1, 2}) {
      const policy::Model model = model_with(modules, dtype);
      Engine plain(model, tokenizer, {});
      const auto want = plain.generate(mixed_requests());
      for (const int64_t guesses : {1, 2, 4}) {
        SCOPED_TRACE(fmt::format("{} modules, {} guesses", modules, guesses));
        Engine engine(model, tokenizer, mtp(guesses));
        expect_same(engine.generate(mixed_requests()), want);
        EXPECT_GT(engine.stats().right_guesses, 0);
      }
    }
  }
}

TEST(MtpSpeculation, ChangesNothingWherePromptsAreSplitAndMemoryIsShort) {
  const policy::Tokenizer tokenizer = letters();
  const policy::Model model = model_with(2);
  Engine plain(model, tokenizer, {});
  const auto want = plain.generate(mixed_requests());
  const int64_t block = 4 * model.cache_bytes_per_token(/*with_mtp=*/true);
  for (const int64_t running_max : {2, 5, 100}) {
    EngineOptions options = mtp(2, running_max);
    options.block_size = 4;
    options.kv_cache_bytes = 22 * block;
    options.prefill_tokens_max = 5;
    options.max_running = 7;
    Engine engine(model, tokenizer, options);
    expect_same(engine.generate(mixed_requests()), want);
    EXPECT_GT(engine.stats().preemptions, 0);
    EXPECT_GT(engine.stats().guessed_tokens, 0);
  }
}

TEST(MtpSpeculation, WorksInEightBits) {
  const policy::Tokenizer tokenizer = letters();
  const policy::Model model = model_with(1, at::kBFloat16);
  Engine plain(model, tokenizer, {.int8 = true});
  EngineOptions options = mtp(2);
  options.int8 = true;
  Engine engine(model, tokenizer, options);
  expect_same(engine.generate(mixed_requests()), plain.generate(mixed_requests()));
  EXPECT_GT(engine.stats().right_guesses, 0);
}

// Module `depth`'s most likely tokens after each position of a sequence: [i] for token i + depth
// + 2, by the trainer's forward pass.
std::vector<std::vector<int64_t>> plain_guesses(const policy::Model& model,
                                                const std::vector<int32_t>& sequence) {
  const auto n = static_cast<int64_t>(sequence.size());
  const at::Tensor ids = at::tensor(sequence, at::kInt).to(at::kLong);
  const at::Tensor positions = at::arange(n);
  at::Tensor state = model.forward({ids, positions, {0, static_cast<int32_t>(n)}});
  std::vector<std::vector<int64_t>> out;
  for (int64_t depth = 0; depth < model.num_mtp(); ++depth) {
    const int64_t rows = n - depth - 1;
    state = model.mtp_forward(depth,
                              {ids.narrow(0, depth + 1, rows),
                               positions.narrow(0, 0, rows),
                               {0, static_cast<int32_t>(rows)}},
                              state.narrow(0, 0, rows));
    const at::Tensor best = state.matmul(model.output_weight().t()).argmax(1).contiguous();
    out.emplace_back(best.const_data_ptr<int64_t>(), best.const_data_ptr<int64_t>() + rows);
  }
  return out;
}

// Passes' books by the rule: from the first token on, each pass checks `count` guesses, of which
// those before the first wrong one are right.
struct Books {
  int64_t guessed = 0, right = 0;
};
Books books_of(const std::vector<int32_t>& sequence, int64_t prompt, int64_t count,
               const std::vector<std::vector<int64_t>>& guesses) {
  Books out;
  const auto size = static_cast<int64_t>(sequence.size());
  for (int64_t known = prompt + 1; known < size;) {  // the first token takes no guess
    const int64_t useful = std::min(count, size - known - 1);
    out.guessed += useful;
    int64_t right = 0;
    // Depth d's guess of token known + d goes on from position known - 2.
    while (right < useful && guesses[right][known - 2] == sequence[known + right]) ++right;
    out.right += right;
    known += right + 1;
  }
  return out;
}

TEST(MtpSpeculation, GuessesWhatTheTrainersModulesPredict) {
  const at::NoGradGuard no_grad;
  const policy::Tokenizer tokenizer = letters();
  int64_t right = 0;
  for (const int64_t modules : {1, 2}) {
    const policy::Model model = model_with(modules);
    for (int i = 0; i < 12; ++i) {
      Request request;
      request.prompt.id = fmt::format("p{}", i);
      for (int t = 0; t < 2 + 3 * i; ++t) request.prompt.token_ids.push_back(2 + (t * 7 + i) % 47);
      request.options = {
          .rule = {.temperature = 0}, .max_completion_length = 25, .ignore_eos = true};
      EngineOptions options = mtp(modules);
      options.prefill_tokens_max = 6;  // no chunk of one token, which would be guessed behind
      Engine engine(model, tokenizer, options);
      const auto completion = engine.generate({request})[0].completions[0];
      std::vector<int32_t> sequence = request.prompt.token_ids;
      sequence.insert(sequence.end(), completion.token_ids.begin(), completion.token_ids.end());
      const Books want = books_of(sequence, static_cast<int64_t>(request.prompt.token_ids.size()),
                                  modules, plain_guesses(model, sequence));
      EXPECT_EQ(engine.stats().guessed_tokens, want.guessed);
      EXPECT_EQ(engine.stats().right_guesses, want.right);
      right += want.right;
    }
  }
  EXPECT_GT(right, 10);
}

TEST(MtpSpeculation, IsRefusedWhereTheModelHasNoModule) {
  const policy::Tokenizer tokenizer = letters();
  const policy::Model model = test::tiny_model();
  EXPECT_THROW(Engine(model, tokenizer, mtp(1)), core::UserError);
}

}  // namespace
}  // namespace ponder::rollout
