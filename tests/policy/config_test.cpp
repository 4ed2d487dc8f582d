// What a config.json may say, and that each impossible thing has its own complaint.
#include "policy/config.h"

#include <nlohmann/json.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "tests/fuzz/mutate.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace ponder::policy {
namespace {

using ::testing::HasSubstr;

// A later key wins: `changes` overrides.
std::string dense_text(const std::string& model_type, const std::string& changes) {
  return R"({"vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "model_type": ")" +
         model_type + "\"" + changes + "}";
}

struct Wrong {
  const char* changes;
  const char* want;
};

void expect_errors(const std::vector<Wrong>& cases,
                   const std::function<std::string(const char*)>& text) {
  for (const Wrong& c : cases) {
    SCOPED_TRACE(c.changes);
    try {
      parse_config(text(c.changes), "c.json");
      ADD_FAILURE() << "no error";
    } catch (const core::UserError& error) {
      EXPECT_THAT(error.what(), HasSubstr(c.want));
      EXPECT_THAT(error.what(), HasSubstr("c.json: "));
    }
  }
}

TEST(ParseConfig, RefusesImpossibleDenseModels) {
  expect_errors(
      {
          {R"(, "num_key_value_heads": 3)",
           "num_attention_heads 4 is no multiple of num_key_value_heads 3"},
          {R"(, "num_key_value_heads": 0)", "num_key_value_heads: expected at least 1, found 0"},
          {R"(, "num_attention_heads": 5, "num_key_value_heads": 5)",
           "hidden_size 32 is no multiple of num_attention_heads 5: say head_dim"},
          {R"(, "head_dim": 7)", "head_dim: expected an even number, found 7"},
          {R"(, "head_dim": "8")", "head_dim: expected an integer, found \"8\""},
          {R"(, "hidden_act": "gelu")", "hidden_act: expected 'silu', found 'gelu'"},
          {R"(, "attention_bias": 1)", "attention_bias: expected true or false, found 1"},
          {R"(, "rms_norm_eps": 0)", "rms_norm_eps: expected above 0, found 0"},
          {R"(, "rms_norm_eps": "small")", "rms_norm_eps: expected a number, found \"small\""},
          {R"(, "num_hidden_layers": 20000)", "num_hidden_layers: expected at most 10000"},
          {R"(, "num_hidden_layers": 2.5)", "num_hidden_layers: expected an integer, found 2.5"},
          {R"(, "vocab_size": -1)", "vocab_size: expected at least 1, found -1"},
          {R"(, "vocab_size": null)", "the key vocab_size is missing"},
          {R"(, "eos_token_id": "stop")", "eos_token_id: expected a token id or a list of them"},
          {R"(, "quantization_config": {"quant_method": "awq"})",
           "quantization_config: expected quant_method fp8"},
          {R"(, "model_type": "lama")", "unknown architecture 'lama', did you mean 'llama'?"},
          {R"(, "model_type": "qwen4")", "did you mean 'qwen2'?"},
          {R"(, "model_type": "gpt_neox")", "(known: deepseek_v3, deepseek_v2, qwen2"},
          {R"(, "model_type": 3)", "model_type: expected a string, found 3"},
      },
      [](const char* changes) { return dense_text("llama", changes); });
}

TEST(ParseConfig, RefusesImpossibleRopes) {
  expect_errors(
      {
          {R"(, "rope_theta": 0)", "rope_theta: expected above 0, found 0"},
          {R"(, "rope_scaling": "yarn")", "rope_scaling: expected an object, found \"yarn\""},
          {R"(, "rope_scaling": {"type": "yarm", "factor": 2})",
           "rope_scaling: unknown rope type 'yarm', did you mean 'yarn'?"},
          {R"(, "rope_parameters": {"rope_type": "dynamic", "factor": 2})",
           "rope_parameters: rope type 'dynamic' is not supported, expected one of default, "
           "linear"},
          {R"(, "rope_parameters": {"rope_type": "longrope", "factor": 2})",
           "rope type 'longrope' is not supported"},
          {R"(, "rope_scaling": {"type": "linear"})", "rope_scaling: the key factor is missing"},
          {R"(, "rope_scaling": {"type": "linear", "factor": -2})",
           "factor: expected above 0, found -2"},
          {R"(, "rope_scaling": {"type": "yarn", "factor": 2, "beta_fast": -1})",
           "beta_fast, beta_slow: expected above 0"},
          {R"(, "rope_theta": 1, "rope_scaling": {"type": "yarn", "factor": 2})",
           "rope_theta: expected above 1"},
          {R"(, "rope_scaling": {"type": "yarn", "factor": 2, "attention_factor": 0})",
           "attention_factor: expected above 0"},
          {R"(, "rope_scaling": {"rope_type": "llama3", "factor": 8})",
           "the key low_freq_factor is missing"},
          {R"(, "rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4,
              "high_freq_factor": 4})",
           "high_freq_factor 4 is not above low_freq_factor 4"},
          {R"(, "rope_parameters": {"full_attention": {"rope_type": "default"}})",
           "rotations that differ by layer are not supported"},
          {R"(, "partial_rotary_factor": 0.5)", "partial_rotary_factor: expected 1"},
      },
      [](const char* changes) { return dense_text("llama", changes); });
}

TEST(ParseConfig, RefusesImpossibleWindows) {
  expect_errors(
      {
          {R"(, "use_sliding_window": true, "sliding_window": 0)",
           "sliding_window: expected at least 1, found 0"},
          {R"(, "use_sliding_window": true, "layer_types": ["full_attention"])",
           "layer_types: expected 3 entries, found 1"},
          {R"(, "use_sliding_window": true, "layer_types": [1, 2, 3])",
           "layer_types: expected a list of strings"},
          {R"(, "use_sliding_window": true,
              "layer_types": ["full_attention", "full_attention", "linear_attention"])",
           "expected full_attention or sliding_attention, found linear_attention"},
      },
      [](const char* changes) { return dense_text("qwen3", changes); });
}

TEST(ParseConfig, RefusesImpossibleMixtures) {
  expect_errors(
      {
          {R"(, "n_group": 8, "topk_group": 4)", "each expert group needs at least 2 experts"},
          {R"(, "topk_group": 5)", "topk_group 5 is above n_group 4"},
          {R"(, "moe_layer_freq": 2)", "moe_layer_freq: expected 1"},
          {R"(, "scoring_func": "softmax")", "scoring_func: expected 'sigmoid', found 'softmax'"},
          {R"(, "topk_method": "greedy")", "topk_method: expected 'noaux_tc', found 'greedy'"},
          {R"(, "routed_scaling_factor": 0)", "routed_scaling_factor: expected above 0"},
          {R"(, "kv_lora_rank": null)", "the key kv_lora_rank is missing"},
          {R"(, "num_nextn_predict_layers": -1)", "num_nextn_predict_layers: expected at least 0"},
          {R"(, "model_type": "deepseek_v2", "topk_method": "groups")",
           "topk_method: unknown 'groups' (known: greedy, group_limited_greedy)"},
          {R"(, "model_type": "deepseek_v2", "scoring_func": "sigmoid")",
           "scoring_func: expected 'softmax', found 'sigmoid'"},
      },
      [](const char* changes) { return test::tiny_config_text(changes); });
}

TEST(ParseConfig, TakesTransformersDefaultsWhereKeysAreMissing) {
  EXPECT_EQ(parse_config(dense_text("llama", R"(, "num_key_value_heads": null)"), "c")
                .gqa.num_key_value_heads,
            4);
  // MistralConfig's, Qwen2Config's and Qwen3Config's; LlamaConfig's is as many as heads.
  const auto heads = [](const char* model_type, bool is_null) {
    auto object = nlohmann::json::parse(dense_text(model_type, R"(, "head_dim": 8)"));
    object["num_attention_heads"] = 64;
    object.erase("num_key_value_heads");
    if (is_null) object["num_key_value_heads"] = nullptr;
    return parse_config(object.dump(), "c").gqa.num_key_value_heads;
  };
  EXPECT_EQ(heads("llama", false), 64);
  EXPECT_EQ(heads("mistral", false), 8);
  EXPECT_EQ(heads("qwen2", false), 32);
  EXPECT_EQ(heads("qwen3", false), 32);
  EXPECT_EQ(heads("mistral", true), 64);
  EXPECT_EQ(parse_config(dense_text("llama", ""), "c").gqa.head_dim, 8);
  EXPECT_EQ(parse_config(dense_text("qwen3", ""), "c").gqa.head_dim, 128);
  EXPECT_TRUE(parse_config(dense_text("qwen2", ""), "c").gqa.qkv_bias);
  EXPECT_FALSE(parse_config(dense_text("llama", ""), "c").gqa.qkv_bias);
  EXPECT_EQ(parse_config(dense_text("mistral", ""), "c").sliding_window(2), 4096);
  EXPECT_EQ(
      parse_config(dense_text("mistral", R"(, "sliding_window": null)"), "c").sliding_window(2), 0);
  // Qwen's sliding_window means nothing without use_sliding_window.
  EXPECT_EQ(parse_config(dense_text("qwen2", R"(, "sliding_window": 8)"), "c").sliding_window(0),
            0);
}

// DeepseekV3Config's and DeepseekV2Config's; a key's null is no missing key.
TEST(ParseConfig, TakesTransformersDefaultsOfMixtures) {
  const auto without = [](std::string text, const std::vector<std::string>& keys) {
    nlohmann::json object = nlohmann::json::parse(text);
    for (const std::string& key : keys) object.erase(key);
    return parse_config(object.dump(), "c").moe;
  };
  const std::vector<std::string> keys = {"n_shared_experts", "n_group", "topk_group",
                                         "routed_scaling_factor"};
  const MoeConfig v3 = without(test::tiny_config_text(R"(, "n_routed_experts": 16)"), keys);
  EXPECT_EQ(v3.n_shared_experts, 1);
  EXPECT_EQ(v3.n_group, 8);
  EXPECT_EQ(v3.topk_group, 4);
  EXPECT_EQ(v3.routed_scaling_factor, 2.5);
  const MoeConfig v2 = without(test::tiny_config_text(R"(, "model_type": "deepseek_v2")"), keys);
  EXPECT_EQ(v2.n_shared_experts, 2);
  EXPECT_EQ(v2.n_group, 1);
  EXPECT_EQ(v2.topk_group, 1);
  EXPECT_EQ(v2.routed_scaling_factor, 1);
  EXPECT_EQ(without(test::tiny_config_text(R"(, "n_group": null, "topk_group": null)"), {}).n_group,
            1);
  EXPECT_EQ(without(test::tiny_config_text(R"(, "n_shared_experts": null)"), {}).n_shared_experts,
            0);
}

TEST(ParseConfig, RefusesWhatIsNestedTooDeep) {
  const std::string deep = fuzz::nested_lists(200'000);
  for (const std::string key : {"unknown", "eos_token_id", "rope_scaling"}) {
    const std::string changes = ", \"" + key + "\": " + deep;
    expect_errors({{changes.c_str(), "nested deeper than 200"}},
                  [](const char* text) { return dense_text("llama", text); });
  }
  const test::TempDir dir;
  core::write_file_atomic(dir.path() / "config.json", dense_text("llama", ""));
  core::write_file_atomic(dir.path() / "generation_config.json",
                          "{\"eos_token_id\": " + deep + "}");
  try {
    read_config(dir.path());
    ADD_FAILURE() << "no error";
  } catch (const core::UserError& error) {
    EXPECT_THAT(error.what(),
                HasSubstr("generation_config.json: JSON that is nested deeper than 200"));
  }
}

// What transformers' dict.get("truncate", True) makes of the key.
TEST(ParseConfig, NullTruncatesNothing) {
  const auto truncate = [](const char* key) {
    const std::string scaling =
        std::string(R"(, "rope_scaling": {"type": "yarn", "factor": 2)") + key + "}";
    return parse_config(dense_text("llama", scaling), "c").rope.truncate;
  };
  EXPECT_TRUE(truncate(""));
  EXPECT_TRUE(truncate(R"(, "truncate": true)"));
  EXPECT_FALSE(truncate(R"(, "truncate": false)"));
  EXPECT_FALSE(truncate(R"(, "truncate": null)"));
}

// transformers 5 keeps both keys apart; where a file has both, it reads rope_scaling.
TEST(ParseConfig, RopeScalingWinsAndThetaMayStandOutside) {
  const ModelConfig both = parse_config(
      dense_text("llama", R"(, "rope_theta": 700, "rope_scaling": {"type": "linear", "factor": 3},
        "rope_parameters": {"rope_type": "default", "rope_theta": 9})"),
      "c");
  EXPECT_EQ(both.rope.theta, 700);
  EXPECT_EQ(both.rope.factor, 3);
  EXPECT_EQ(parse_config(dense_text("llama", R"(, "rope_scaling": null, "rope_theta": 700)"), "c")
                .rope.theta,
            700);
}

}  // namespace
}  // namespace ponder::policy
