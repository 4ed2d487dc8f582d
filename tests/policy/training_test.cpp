// The training face of whole models: what must not change the gradients, and what they become in
// bfloat16.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "policy/model.h"
#include "policy/ops.h"
#include "policy/optimizer.h"
#include "tests/support/tiny_model.h"

namespace ponder::policy {
namespace {

Model qwen3_model() {
  return Model::random(parse_config(R"({"model_type": "qwen3", "vocab_size": 50, "hidden_size": 32,
    "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "head_dim": 8,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "eos_token_id": 1,
    "tie_word_embeddings": true})",
                                    "config.json"),
                       3);
}

// Two groups: a prompt and its completions. The model sees prompts once or with each completion.
struct Groups {
  PackedInput shared, repeated;
  std::vector<int64_t> shared_states, repeated_states, targets;

  void add(PackedInput& input, std::vector<int64_t>& ids, std::vector<int64_t>& positions,
           int64_t from, const std::vector<int64_t>& tokens, int32_t parent) const {
    for (size_t i = 0; i < tokens.size(); ++i) {
      ids.push_back(tokens[i]);
      positions.push_back(from + static_cast<int64_t>(i));
    }
    input.cu_seqlens.push_back(static_cast<int32_t>(ids.size()));
    input.parents.push_back(parent);
  }
};

Groups make_groups() {
  Groups g;
  std::vector<int64_t> ids, positions, repeated_ids, repeated_positions;
  g.shared.cu_seqlens = g.repeated.cu_seqlens = {0};
  at::manual_seed(11);
  const auto random_tokens = [](int64_t n) {
    const at::Tensor t = at::randint(2, 50, {n}, at::kLong);
    return std::vector<int64_t>(t.const_data_ptr<int64_t>(), t.const_data_ptr<int64_t>() + n);
  };
  for (const auto& [prompt_length, lengths] :
       std::vector<std::pair<int64_t, std::vector<int64_t>>>{{70, {5, 66, 1}}, {3, {9, 2}}}) {
    const auto prompt = random_tokens(prompt_length);
    g.add(g.shared, ids, positions, 0, prompt, -1);
    const auto parent = static_cast<int32_t>(g.shared.parents.size()) - 1;
    const auto prompt_end = static_cast<int64_t>(ids.size()) - 1;
    for (const int64_t length : lengths) {
      const auto completion = random_tokens(length);
      const auto begin = static_cast<int64_t>(ids.size());
      g.add(g.shared, ids, positions, prompt_length, completion, parent);
      auto whole = prompt;
      whole.insert(whole.end(), completion.begin(), completion.end());
      const auto repeated_begin = static_cast<int64_t>(repeated_ids.size()) + prompt_length;
      g.add(g.repeated, repeated_ids, repeated_positions, 0, whole, -1);
      for (int64_t i = 0; i < length; ++i) {
        g.shared_states.push_back(i == 0 ? prompt_end : begin + i - 1);
        g.repeated_states.push_back(repeated_begin + i - 1);
        g.targets.push_back(completion[i]);
      }
    }
  }
  g.shared.token_ids = at::tensor(ids);
  g.shared.positions = at::tensor(positions);
  g.repeated.token_ids = at::tensor(repeated_ids);
  g.repeated.positions = at::tensor(repeated_positions);
  return g;
}

struct Pass {
  at::Tensor logprobs;
  std::vector<at::Tensor> grads;
};

Pass run(const Model& model, const PackedInput& input, const std::vector<int64_t>& states,
         const std::vector<int64_t>& targets) {
  for (const Parameter& p : model.parameters()) at::Tensor(p.tensor).mutable_grad() = at::Tensor();
  const TokenLogprobs out = token_logprobs(model.forward(input).index_select(0, at::tensor(states)),
                                           model.output_weight(), at::tensor(targets), 1.0);
  at::manual_seed(12);
  const at::Tensor weights = at::randn(out.logprobs.sizes());
  (out.logprobs * weights + 0.1 * out.entropies).sum().backward();
  Pass pass{.logprobs = out.logprobs.detach(), .grads = {}};
  for (const Parameter& p : model.parameters()) {
    if (p.trainable)
      pass.grads.push_back(p.tensor.grad().defined() ? p.tensor.grad().clone() : at::zeros({1}));
  }
  return pass;
}

TEST(SharedPrompt, LogprobsAndGradientsAreThoseOfRepeatedPrompts) {
  const Groups g = make_groups();
  const Model models[] = {test::tiny_model(), qwen3_model()};
  for (const Model& model : models) {
    SCOPED_TRACE(model.config().model_type);
    EXPECT_LT(g.shared.token_ids.size(0), g.repeated.token_ids.size(0) - 140);
    const Pass want = run(model, g.repeated, g.repeated_states, g.targets),
               got = run(model, g.shared, g.shared_states, g.targets);
    EXPECT_LE((got.logprobs - want.logprobs).abs().max().item<double>(), 2e-5);
    for (size_t i = 0; i < want.grads.size(); ++i) {
      const double error = (got.grads[i] - want.grads[i]).norm().item<double>();
      EXPECT_LE(error, 1e-5 + 2e-5 * want.grads[i].norm().item<double>()) << i;
    }
  }
}

TEST(GradientCheckpointing, GivesTheSameBits) {
  const Groups g = make_groups();
  Model models[] = {test::tiny_model(), qwen3_model()};
  for (Model& model : models) {
    SCOPED_TRACE(model.config().model_type);
    const Pass want = run(model, g.shared, g.shared_states, g.targets);
    model.set_gradient_checkpointing(true);
    const Pass got = run(model, g.shared, g.shared_states, g.targets);
    EXPECT_TRUE(at::equal(got.logprobs, want.logprobs));
    for (size_t i = 0; i < want.grads.size(); ++i)
      EXPECT_TRUE(at::equal(got.grads[i], want.grads[i])) << i;
  }
}

TEST(GradientCheckpointing, KeepsTheBalanceLossAndCountsTokensOnce) {
  const Groups g = make_groups();
  Model model = test::tiny_model();
  std::vector<at::Tensor> grads, loads;
  for (const bool on : {false, true}) {
    model.set_gradient_checkpointing(on);
    for (const Parameter& p : model.parameters())
      at::Tensor(p.tensor).mutable_grad() = at::Tensor();
    MoeRecord record{.loads = at::zeros({1, 8}, at::kLong),
                     .balance = {.sequence = 1},
                     .balance_loss = {}};
    const at::Tensor hidden = model.forward(g.repeated, &record);
    (hidden.sum() + record.balance_loss).backward();
    loads.push_back(record.loads);
    for (const Parameter& p : model.parameters())
      if (p.name.ends_with("mlp.gate.weight")) grads.push_back(p.tensor.grad().clone());
  }
  ASSERT_EQ(grads.size(), 2U);
  EXPECT_TRUE(at::equal(grads[0], grads[1]));
  EXPECT_TRUE(at::equal(loads[0], loads[1]));
}

// A frozen embedding: the layers' input needs no gradient, their weights do.
TEST(GradientCheckpointing, TrainsBehindAFrozenEmbedding) {
  const Groups g = make_groups();
  Model model = qwen3_model();
  for (const Parameter& p : model.parameters())
    at::Tensor(p.tensor).requires_grad_(p.name.ends_with("q_proj.weight"));
  const auto grad = [&] {
    const Pass pass = run(model, g.shared, g.shared_states, g.targets);
    at::Tensor sum;
    for (const Parameter& p : model.parameters())
      if (p.tensor.requires_grad()) sum = p.tensor.grad().clone();
    return sum;
  };
  const at::Tensor want = grad();
  model.set_gradient_checkpointing(true);
  EXPECT_TRUE(at::equal(grad(), want));
}

// bfloat16 weights with masters learn as float32 weights do: the loss of a few steps on one batch.
TEST(Bfloat16, LearnsAsFloat32Does) {
  const Groups g = make_groups();
  std::vector<double> losses;
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Model model =
        Model::random(parse_config(test::tiny_config_text(), "config.json"), 1, dtype);
    AdamW optimizer(model.parameters(), {.learning_rate = 2e-3});
    double loss = 0;
    for (int i = 0; i < 8; ++i) {
      const TokenLogprobs out =
          token_logprobs(model.forward(g.shared).index_select(0, at::tensor(g.shared_states)),
                         model.output_weight(), at::tensor(g.targets), 1.0);
      const at::Tensor mean = -out.logprobs.mean();
      loss = mean.item<double>();
      mean.backward();
      ASSERT_TRUE(optimizer.step(2e-3).applied);
    }
    losses.push_back(loss);
  }
  EXPECT_LT(losses[0], 3.4);  // ln 50 = 3.9 at the start
  EXPECT_NEAR(losses[1], losses[0], 0.2);  // now and then another expert is chosen
}

}  // namespace
}  // namespace ponder::policy
