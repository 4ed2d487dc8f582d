// What a GGUF file says of model and tokenizer, as Hugging Face files.
#include <cmath>
#include <numbers>
#include <numeric>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "policy/gguf_config.h"
#include "policy/gguf_pretokenizers.h"
#include "policy/gguf_tokenizer.h"
#include "policy/tokenizer.h"
#include "tests/fuzz/gguf_fuzz.h"
#include "tests/fuzz/mutate.h"
#include "tests/support/gguf_builder.h"

namespace ponder::policy {
namespace {

using nlohmann::json;
using test::GgufBuilder;
using ::testing::HasSubstr;

struct Change {
  std::string key;  // left out, or with `text` in place
  std::string text;
};

// A llama of one layer with a tokenizer of six tokens.
std::string small_file(const std::vector<Change>& changes = {}, const std::string& pre = "smollm") {
  GgufBuilder values;
  uint64_t count = 0;
  const auto allowed = [&](const std::string& key) {
    for (const Change& change : changes) {
      if (change.key != key) continue;
      if (!change.text.empty()) ++count, values.value(key, change.text);
      return false;
    }
    ++count;
    return true;
  };
  const auto text = [&](const std::string& key, const std::string& content) {
    if (allowed(key)) values.value(key, content);
  };
  const auto number = [&](const std::string& key, uint32_t content) {
    if (allowed(key)) values.value(key, 4, content);
  };
  text("general.architecture", "llama");
  number("llama.embedding_length", 32);
  number("llama.feed_forward_length", 64);
  number("llama.block_count", 1);
  number("llama.attention.head_count", 4);
  number("llama.attention.head_count_kv", 2);
  number("llama.context_length", 128);
  if (allowed("llama.attention.layer_norm_rms_epsilon"))
    values.value("llama.attention.layer_norm_rms_epsilon", 6, 1e-6f);
  text("tokenizer.ggml.model", "gpt2");
  text("tokenizer.ggml.pre", pre);
  if (allowed("tokenizer.ggml.tokens"))
    values.texts("tokenizer.ggml.tokens", {"<|end|>", "a", "b", "ab", "<extra>", "[PAD5]"});
  if (allowed("tokenizer.ggml.token_type")) {
    values.list("tokenizer.ggml.token_type", 5, 6);
    for (const int32_t type : {3, 1, 1, 1, 4, 5}) values.put(type);
  }
  if (allowed("tokenizer.ggml.merges")) values.texts("tokenizer.ggml.merges", {"a b"});
  number("tokenizer.ggml.eos_token_id", 0);
  GgufBuilder file;
  file.head(1, count).raw(values.bytes()).tensor("token_embd.weight", {32, 6}, 0, 0).data(768);
  return file.bytes();
}

GgufContent parse(const std::string& bytes) {
  return GgufContent(std::as_bytes(std::span(bytes)), "f.gguf");
}

TEST(GgufConfig, LlamaSaysWhatTransformersReads) {
  const std::string bytes = small_file();
  const json config = gguf_config_json(parse(bytes), "bfloat16");
  EXPECT_EQ(config["model_type"], "llama");
  EXPECT_EQ(config["architectures"], json({"LlamaForCausalLM"}));
  EXPECT_EQ(config["vocab_size"], 6);
  EXPECT_EQ(config["num_key_value_heads"], 2);
  EXPECT_EQ(config["head_dim"], 8);
  EXPECT_EQ(config["rms_norm_eps"], 1e-6);  // not the float32 next to it
  EXPECT_EQ(config["rope_theta"], 10000.0);
  EXPECT_EQ(config["tie_word_embeddings"], true);
  EXPECT_EQ(config["eos_token_id"], 0);
  EXPECT_FALSE(config.contains("rope_scaling"));
}

TEST(GgufConfig, WrongMetadataIsAnErrorThatNamesTheKey) {
  const struct {
    Change change;
    const char* says;
  } cases[] = {
      {{"general.architecture", ""}, "general.architecture is missing"},
      {{"general.architecture", "llamb"}, "unknown architecture 'llamb', did you mean 'llama'?"},
      {{"llama.block_count", ""}, "llama.block_count is missing"},
      {{"llama.block_count", "two"}, "llama.block_count is text, expected an integer"},
      {{"llama.attention.layer_norm_rms_epsilon", ""}, "rms_epsilon is missing, expected a number"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.says);
    const std::string bytes = small_file({c.change});
    try {
      gguf_config_json(parse(bytes), "float32");
      ADD_FAILURE() << "no error";
    } catch (const core::UserError& error) {
      EXPECT_THAT(error.what(), HasSubstr(c.says));
    }
  }
}

// transformers' formula for Llama 3 (modeling_rope_utils.py) with the constants of Llama 3.2.
TEST(GgufConfig, FindsLlama3ScalingInItsTable) {
  const auto config_of = [](float spoil) {
    GgufBuilder file;
    file.head(2, 8)
        .value("general.architecture", "llama")
        .value("llama.embedding_length", 4, uint32_t{128})
        .value("llama.feed_forward_length", 4, uint32_t{64})
        .value("llama.block_count", 4, uint32_t{1})
        .value("llama.attention.head_count", 4, uint32_t{2})
        .value("llama.context_length", 4, uint32_t{131072})
        .value("llama.attention.layer_norm_rms_epsilon", 6, 1e-5f)
        .value("llama.rope.freq_base", 6, 500000.0f)
        .tensor("rope_freqs.weight", {32}, 0, 0)
        .tensor("token_embd.weight", {128, 1}, 0, 128)
        .data(0);
    for (int i = 0; i < 32; ++i) {
      const double wavelength = 2 * std::numbers::pi * std::pow(500000.0, i / 32.0);
      const double smooth = (8192 / wavelength - 1) / 3;
      const double factor = wavelength < 2048   ? 1.0
                            : wavelength > 8192 ? 32.0
                                                : 1 / ((1 - smooth) / 32 + smooth);
      file.put(static_cast<float>(factor) + (i == 16 ? spoil : 0.0f));
    }
    file.data(512);
    return gguf_config_json(parse(file.bytes()), "float32");
  };
  EXPECT_EQ(config_of(0)["rope_scaling"], json({{"rope_type", "llama3"},
                                                {"factor", 32.0},
                                                {"low_freq_factor", 1.0},
                                                {"high_freq_factor", 4.0},
                                                {"original_max_position_embeddings", 8192}}));
  EXPECT_THROW(config_of(0.5f), core::UserError);
}

TEST(GgufTokenizer, PutsEachTokenWhereTokenizersWantsIt) {
  const std::string bytes = small_file();
  const json file = gguf_tokenizer_json(parse(bytes));
  EXPECT_EQ(file["model"]["vocab"], json({{"<|end|>", 0}, {"a", 1}, {"b", 2}, {"ab", 3}}));
  ASSERT_EQ(file["added_tokens"].size(), 2u);
  EXPECT_EQ(file["added_tokens"][0]["special"], true);
  EXPECT_EQ(file["added_tokens"][1]["content"], "<extra>");
  EXPECT_EQ(file["added_tokens"][1]["special"], false);
  const Tokenizer tokenizer = Tokenizer::from_json(file.dump(), "f");
  EXPECT_THAT(tokenizer.encode("ab<|end|>ba<extra>"), ::testing::ElementsAre(3, 0, 2, 1, 4));
  EXPECT_EQ(gguf_tokenizer_config(parse(bytes), 128)["eos_token"], "<|end|>");
}

TEST(GgufTokenizer, WrongTokenizersAreErrors) {
  const struct {
    Change change;
    const char* says;
  } cases[] = {
      {{"tokenizer.ggml.model", "llama"}, "tokenizer.ggml.model is 'llama', expected 'gpt2'"},
      {{"tokenizer.ggml.model", ""}, "tokenizer.ggml.model is missing"},
      {{"tokenizer.ggml.pre", ""}, "tokenizer.ggml.pre is missing"},
      {{"tokenizer.ggml.pre", "smolm"}, "unknown pre-tokenizer 'smolm', did you mean 'smollm'?"},
      {{"tokenizer.ggml.tokens", ""}, "tokenizer.ggml.tokens is missing"},
      {{"tokenizer.ggml.merges", ""}, "tokenizer.ggml.merges is missing"},
      {{"tokenizer.ggml.merges", "a b"}, "tokenizer.ggml.merges is text, expected a list"},
      {{"tokenizer.ggml.eos_token_id", "0"}, "eos_token_id is text, expected an integer"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.says);
    const std::string bytes = small_file({c.change});
    try {
      const GgufContent file = parse(bytes);
      gguf_tokenizer_json(file);
      gguf_token_ids(file);
      ADD_FAILURE() << "no error";
    } catch (const core::UserError& error) {
      EXPECT_THAT(error.what(), HasSubstr(c.says));
    }
  }
}

TEST(GgufTokenizer, EveryPreTokenizerLoads) {
  for (const std::string& name : gguf_pre_tokenizer_names()) {
    SCOPED_TRACE(name);
    const std::string bytes = small_file({}, name);
    const Tokenizer tokenizer =
        Tokenizer::from_json(gguf_tokenizer_json(parse(bytes)).dump(), name);
    EXPECT_THAT(tokenizer.encode("ab"), ::testing::ElementsAre(3));
  }
}

TEST(GgufFuzz, MutatedFilesLoadOrAreRefused) {
  const std::string seeds[] = {
      small_file(),
      core::read_file(std::filesystem::path(PONDER_SOURCE_DIR) / "tests/golden/gguf/blocks.gguf",
                      "golden")};
  std::vector<std::string> dictionary = {"llama", "gpt2", "deepseek2", "qwen2", "yarn", "a b"};
  for (const uint64_t number :
       {uint64_t{0}, uint64_t{1}, uint64_t{32}, uint64_t{1} << 32, uint64_t{1} << 60, UINT64_MAX}) {
    dictionary.emplace_back(reinterpret_cast<const char*>(&number), sizeof number);
    dictionary.emplace_back(reinterpret_cast<const char*>(&number), 4);
  }
  const char* asked = std::getenv("PONDER_FUZZ_ROUNDS");
  const int rounds = asked != nullptr ? std::atoi(asked) : 3000;
  std::mt19937_64 random(1);
  int counts[2] = {0, 0};
  for (int i = 0; i < rounds; ++i) {
    const std::string text = fuzz::mutate(seeds[i % 4 == 0 ? 1 : 0], random, dictionary);
    int loaded = -1;
    ASSERT_NO_THROW(loaded =
                        fuzz::fuzz_gguf(reinterpret_cast<const uint8_t*>(text.data()), text.size()))
        << i;
    ++counts[loaded];
  }
  EXPECT_GT(counts[0], 0);
  EXPECT_GT(counts[1], 0);
}

}  // namespace
}  // namespace ponder::policy
