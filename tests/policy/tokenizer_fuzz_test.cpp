#include "tests/fuzz/tokenizer_fuzz.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include <gtest/gtest.h>

#include "core/file.h"
#include "tests/fuzz/mutate.h"

namespace ponder::fuzz {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kDictionary = {"null",
                                              "true",
                                              "false",
                                              "-1",
                                              "0",
                                              "4294967296",
                                              "99999999999999999999",
                                              "1e9",
                                              "\"\"",
                                              "[]",
                                              "{}",
                                              "\"BPE\"",
                                              "\"Split\"",
                                              "\"ByteLevel\"",
                                              "\"Sequence\"",
                                              "\"Metaspace\"",
                                              "\"NFC\"",
                                              "\"Removed\"",
                                              "\"MergedWithNext\"",
                                              "\xFF",
                                              "\\ud800",
                                              "\\u0000",
                                              "\"(a\"",
                                              "\"(?:a*)*b\"",
                                              "\"\\\\p{L}\"",
                                              "\"x*\"",
                                              ",",
                                              ":",
                                              "\"",
                                              "[",
                                              "]",
                                              "{",
                                              "}",
                                              nested_lists(100'000)};

// A golden tokenizer with few merges, so that mutations fall upon everything.
std::string seed_of(const fs::path& folder) {
  std::ifstream file(folder / "tokenizer.json");
  nlohmann::json content = nlohmann::json::parse(file);
  nlohmann::json& merges = content["model"]["merges"];
  while (merges.size() > 10) merges.erase(merges.size() - 1);
  nlohmann::json& vocab = content["model"]["vocab"];
  nlohmann::json kept = nlohmann::json::object();
  for (const auto& [token, id] : vocab.items()) {
    if (id < 60 || token.size() > 3 || token.starts_with("<")) kept[token] = id;
  }
  for (const auto& merge : merges) {
    const std::string left = merge[0];
    const std::string right = merge[1];
    for (const std::string& token : {left, right, left + right}) kept[token] = vocab[token];
  }
  // Numbered anew without gaps, in the order of the old ids.
  std::vector<std::pair<int, std::string>> order;
  for (const auto& [token, id] : kept.items()) order.emplace_back(id, token);
  std::sort(order.begin(), order.end());
  for (size_t i = 0; i < order.size(); ++i) kept[order[i].second] = i;
  size_t next = order.size();
  for (nlohmann::json& token : content["added_tokens"]) {
    const std::string text = token["content"];
    token["id"] = kept.contains(text) ? kept[text] : nlohmann::json(next++);
  }
  vocab = kept;
  return content.dump();
}

TEST(TokenizerFuzz, MutatedFilesLoadOrAreRefused) {
  const char* asked = std::getenv("PONDER_FUZZ_ROUNDS");
  const int rounds = asked != nullptr ? std::atoi(asked) : 300;
  std::mt19937_64 random(1);
  int accepted = 0;
  int refused = 0;
  for (const auto& entry :
       fs::directory_iterator(fs::path(PONDER_SOURCE_DIR) / "tests/golden/tokenizers")) {
    const std::string seed = seed_of(entry.path());
    ASSERT_EQ(fuzz_tokenizer_json(reinterpret_cast<const uint8_t*>(seed.data()), seed.size()), 1)
        << entry.path();
    for (int i = 0; i < rounds; ++i) {
      const std::string text = mutate(seed, random, kDictionary);
      SCOPED_TRACE(text);
      int loaded = -1;
      ASSERT_NO_THROW(
          loaded = fuzz_tokenizer_json(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
      ++(loaded == 1 ? accepted : refused);
    }
  }
  EXPECT_GT(accepted, 0);
  EXPECT_GT(refused, 0);
}

}  // namespace
}  // namespace ponder::fuzz
