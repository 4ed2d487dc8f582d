// Small models of every kind, and what the tests of devices do with them.
#pragma once

#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "policy/decode/decoder.h"
#include "policy/model.h"
#include "tests/support/tiny_model.h"

namespace ponder::policy {

struct Kind {
  const char* name;
  std::string config;
  friend void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }
};

inline std::string gqa_config(const std::string& type, const std::string& more) {
  return R"({"model_type": ")" + type + R"(", "vocab_size": 50, "hidden_size": 32,
    "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "eos_token_id": 1)" +
         more + "}";
}

inline std::vector<Kind> kinds() {
  return {{"llama_tied", gqa_config("llama", R"(, "tie_word_embeddings": true)")},
          {"qwen2", gqa_config("qwen2", "")},
          {"qwen3", gqa_config("qwen3", R"(, "head_dim": 16)")},
          {"mistral_window", gqa_config("mistral", R"(, "sliding_window": 5)")},
          {"deepseek_v3", test::tiny_config_text()}};
}

inline Model model_of(const Kind& kind, at::Device device, at::ScalarType dtype = at::kFloat) {
  return Model::random(parse_config(kind.config, "config.json"), 3, dtype, device);
}

// Three prompts at once, then single tokens: states and logits of every pass.
inline std::vector<at::Tensor> sample_passes(const Model& model) {
  Decoder decoder(model);
  KvCache cache = model.make_cache(12, 4);
  const std::vector<std::vector<int32_t>> blocks = {{5, 0, 7}, {2, 8, 6}, {1, 9, 4}};
  std::vector<at::Tensor> out;
  const std::vector<int64_t> prompts = {5, 1, 7};
  for (int64_t pass = 0; pass < 4; ++pass) {
    CachedRows rows;
    rows.block_size = 4;
    for (size_t s = 0; s < 3; ++s) {
      rows.add_sequence(blocks[s]);
      const int64_t begin = pass == 0 ? 0 : prompts[s] + pass - 1, end = prompts[s] + pass;
      for (int64_t p = begin; p < end; ++p)
        rows.add(static_cast<int32_t>((7 * p + 3 * static_cast<int64_t>(s)) % 50), p);
      rows.wanted.push_back(static_cast<int32_t>(rows.size()) - 1);
    }
    const at::Tensor hidden = decoder.forward(rows, cache);
    EXPECT_EQ(hidden.device(), model.device());
    const at::Tensor logits = decoder.logits(hidden);
    EXPECT_TRUE(logits.is_cpu());
    out.push_back(hidden.to(at::kCPU, at::kFloat));
    out.push_back(logits.clone());
  }
  return out;
}

}  // namespace ponder::policy
