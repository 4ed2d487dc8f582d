// Sampling's own forward pass against the model's plain one, over every architecture.
#include "policy/decode/decoder.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "core/random.h"
#include "tests/support/tiny_model.h"

namespace ponder::policy {
namespace {

struct Kind {
  const char* name;
  std::string config;
};

std::string gqa_config(const std::string& type, const std::string& more) {
  return R"({"model_type": ")" + type + R"(", "vocab_size": 50, "hidden_size": 36,
    "intermediate_size": 88, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2,
    "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "eos_token_id": 1)" +
         more + "}";
}

std::vector<Kind> kinds() {
  return {
      {"llama", gqa_config("llama", "")},
      {"llama_bias",
       gqa_config("llama",
                  R"(, "attention_bias": true, "mlp_bias": true, "tie_word_embeddings": true)")},
      {"qwen2", gqa_config("qwen2", "")},
      {"qwen3", gqa_config("qwen3", R"(, "head_dim": 16)")},
      {"mistral_window", gqa_config("mistral", R"(, "sliding_window": 7)")},
      {"deepseek_v3", test::tiny_config_text()},
      // Softmax over the experts, of which the two best groups of three are open; weights not
      // normed.
      {"deepseek_v2", test::tiny_config_text(
                          R"(, "model_type": "deepseek_v2", "topk_method": "group_limited_greedy",
        "scoring_func": "softmax", "n_routed_experts": 6, "n_group": 3, "topk_group": 2, "norm_topk_prob": false)")},
      {"deepseek_v3_no_q_lora", test::tiny_config_text(R"(, "q_lora_rank": null)")},
  };
}

class DecoderOf : public testing::TestWithParam<Kind> {
 protected:
  Model model(at::ScalarType dtype) {
    Model out = Model::random(parse_config(GetParam().config, "config.json"), 3, dtype);
    const at::NoGradGuard no_grad;
    uint64_t stream = 0;
    // Norms, biases and balance biases that do something.
    for (const Parameter& p : out.parameters()) {
      if (p.tensor.dim() != 1) continue;
      core::Rng rng(9, ++stream);
      for (int64_t i = 0; i < p.tensor.numel(); ++i) p.tensor[i].add_(0.3 * rng.normal());
    }
    return out;
  }
};

// Three sequences in scattered blocks.
struct World {
  std::vector<std::vector<int32_t>> tokens = {{}, {}, {}};
  std::vector<std::vector<int32_t>> blocks = {{5, 0, 7}, {2}, {1, 9, 4, 3}};
  World() {
    core::Rng rng(1, 1);
    for (size_t s = 0; s < 3; ++s) {
      const std::vector<int64_t> lengths = {20, 5, 30};
      for (int64_t i = 0; i < lengths[s]; ++i)
        tokens[s].push_back(static_cast<int32_t>(rng.integer(0, 49)));
    }
  }
  // Tokens [begin, end) of a sequence; all are wanted.
  void add(CachedRows& rows, size_t s, size_t begin, size_t end) const {
    rows.block_size = 8;
    rows.add_sequence(blocks[s]);
    for (size_t p = begin; p < std::min(end, tokens[s].size()); ++p) {
      rows.wanted.push_back(static_cast<int32_t>(rows.size()));
      rows.add(tokens[s][p], static_cast<int64_t>(p));
    }
  }
};

// All three sequences' states by the trainer's forward, each [tokens, hidden].
std::vector<at::Tensor> plain_states(const Model& model, const World& world) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> out;
  for (const auto& tokens : world.tokens) {
    const auto n = static_cast<int64_t>(tokens.size());
    out.push_back(model.forward({at::tensor(tokens, at::kInt).to(at::kLong),
                                 at::arange(n, at::kLong),
                                 {0, static_cast<int32_t>(n)}}));
  }
  return out;
}

std::vector<at::Tensor> chunked_states(const Model& model, const World& world, size_t chunk,
                                       bool int8 = false) {
  Decoder decoder(model, int8);
  KvCache cache = model.make_cache(10, 8);
  std::vector<std::vector<at::Tensor>> parts(3);
  for (size_t begin = 0; begin < 30; begin += chunk) {
    CachedRows rows;
    for (size_t s = 0; s < 3; ++s) world.add(rows, s, begin, begin + chunk);
    const at::Tensor states = decoder.forward(rows, cache);
    int64_t at = 0;
    for (size_t s = 0; s < 3; ++s) {
      const auto size = static_cast<int64_t>(world.tokens[s].size());
      const int64_t count =
          std::clamp<int64_t>(size - static_cast<int64_t>(begin), 0, static_cast<int64_t>(chunk));
      parts[s].push_back(states.narrow(0, at, count));
      at += count;
    }
  }
  std::vector<at::Tensor> out;
  for (auto& part : parts) out.push_back(at::cat(part));
  return out;
}

TEST_P(DecoderOf, IsTheTrainersForwardInFloat32) {
  const Model model = this->model(at::kFloat);
  const World world;
  const auto want = plain_states(model, world), got = chunked_states(model, world, 6);
  for (size_t s = 0; s < 3; ++s) {
    const at::Tensor weight = model.output_weight();
    const at::Tensor a = at::log_softmax(at::linear(want[s], weight), 1),
                     b = at::log_softmax(Decoder(model).logits(got[s]), 1);
    EXPECT_LE((a - b).abs().max().item<double>(), 1e-5);
  }
}

TEST_P(DecoderOf, IsNearTheTrainersForwardInBfloat16) {
  const Model model = this->model(at::kBFloat16);
  const World world;
  const auto want = plain_states(model, world), got = chunked_states(model, world, 6);
  // Rounding may send a token to another expert: its row then differs, and those that see it.
  for (size_t s = 0; s < 3; ++s) {
    const at::Tensor a = want[s].to(at::kFloat), b = got[s].to(at::kFloat);
    const at::Tensor share = (a - b).norm(2, {1}) / a.norm(2, {1});
    EXPECT_LE(share.median().item<double>(), 0.03);
  }
}

TEST_P(DecoderOf, GivesTheSameBitsInAnyBatchAndChunk) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Model model = this->model(dtype);
    const World world;
    const auto want = chunked_states(model, world, 1);
    for (const size_t chunk : {2, 7, 30}) {
      const auto got = chunked_states(model, world, chunk);
      for (size_t s = 0; s < 3; ++s) EXPECT_TRUE(at::equal(want[s], got[s])) << chunk;
    }
    const at::Tensor logits = Decoder(model).logits(want[2]);
    EXPECT_TRUE(
        at::equal(Decoder(model).logits(want[2].narrow(0, 11, 1)), logits.narrow(0, 11, 1)));
  }
}

// The last layer leaves out rows that nobody asks for; what they leave in the cache stays.
TEST_P(DecoderOf, GivesTheSameBitsWhateverIsWanted) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Model model = this->model(dtype);
    const World world;
    const auto want = chunked_states(model, world, 1);
    Decoder decoder(model);
    KvCache cache = model.make_cache(10, 8);
    CachedRows rows;
    for (size_t s = 0; s < 3; ++s) world.add(rows, s, 0, world.tokens[s].size() - 1);
    rows.wanted = {7, 18, 22};  // of the first sequence, its last, and the second's last
    const at::Tensor some = decoder.forward(rows, cache);
    EXPECT_TRUE(at::equal(some, at::stack({want[0][7], want[0][18], want[1][3]})));
    rows.wanted = {22, 7};  // in any order
    EXPECT_TRUE(at::equal(decoder.forward(rows, cache), at::stack({want[1][3], want[0][7]})));
    CachedRows last;
    for (size_t s = 0; s < 3; ++s) world.add(last, s, world.tokens[s].size() - 1, 99);
    const at::Tensor next = decoder.forward(last, cache);
    for (size_t s = 0; s < 3; ++s) EXPECT_TRUE(at::equal(next[s], want[s][-1])) << s;
  }
}

// 8 bits: near float32's states, and still the same bits in any batch.
TEST_P(DecoderOf, IsNearFloat32InEightBits) {
  const Model model = this->model(at::kFloat);
  const World world;
  const auto want = plain_states(model, world), got = chunked_states(model, world, 6, true),
             alone = chunked_states(model, world, 1, true);
  for (size_t s = 0; s < 3; ++s) {
    const at::Tensor share = (want[s] - got[s]).norm(2, {1}) / want[s].norm(2, {1});
    EXPECT_LE(share.median().item<double>(), 0.06);
    EXPECT_GT(share.median().item<double>(), 1e-5);
    EXPECT_TRUE(at::equal(got[s], alone[s]));
    const at::Tensor logits = at::linear(got[s], model.output_weight()),
                     bytes = Decoder(model, true).logits(got[s]);
    EXPECT_LE((logits - bytes).norm().item<double>(), 0.03 * logits.norm().item<double>());
  }
}

TEST_P(DecoderOf, GivesTheSameBitsOnAnyNumberOfThreads) {
  const Model model = this->model(at::kFloat);
  const World world;
  const int threads = at::get_num_threads();
  const auto want = chunked_states(model, world, 9);
  at::set_num_threads(3);
  const auto got = chunked_states(model, world, 9);
  at::set_num_threads(threads);
  for (size_t s = 0; s < 3; ++s) EXPECT_TRUE(at::equal(want[s], got[s]));
}

INSTANTIATE_TEST_SUITE_P(Architectures, DecoderOf, testing::ValuesIn(kinds()),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace ponder::policy
