#include "policy/tokenizer.h"

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "policy/utf8.h"
#include "tests/fuzz/mutate.h"
#include "tests/support/temp_dir.h"

namespace ponder::policy {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const fs::path kGolden = fs::path(PONDER_SOURCE_DIR) / "tests/golden/tokenizers";

std::vector<json> cases_of(const fs::path& folder) {
  std::ifstream file(folder / "cases.jsonl");
  std::vector<json> cases;
  for (std::string line; std::getline(file, line);) cases.push_back(json::parse(line));
  return cases;
}

// A tokenizer.json in which tests break one thing at a time.
json small() {
  return json::parse(R"({
    "added_tokens": [{"id": 6, "content": "<eos>", "special": true, "normalized": false}],
    "normalizer": null,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
    "post_processor": null,
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3, "c": 4, "abc": 5},
              "merges": ["a b", ["ab", "c"]]}
  })");
}

Tokenizer load(const json& content) {
  return Tokenizer::from_json(content.dump(), "t.json");
}

// Every family against what `tokenizers` made of the same strings (tools/make_tokenizer_golden.py).
class TokenizerGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(TokenizerGolden, EncodesAsTokenizers) {
  const Tokenizer tokenizer = Tokenizer::from_folder(kGolden / GetParam());
  int compared = 0;
  for (const json& line : cases_of(kGolden / GetParam())) {
    if (!line.contains("text")) continue;
    SCOPED_TRACE(line["text"].dump());
    const auto got = tokenizer.encode(line["text"].get<std::string>(), line["special"].get<bool>());
    EXPECT_EQ(got, line["tokens"].get<std::vector<int32_t>>());
    ++compared;
  }
  EXPECT_EQ(compared, 60);
}

TEST_P(TokenizerGolden, DecodesAsTokenizersWholeAndStreamed) {
  const Tokenizer tokenizer = Tokenizer::from_folder(kGolden / GetParam());
  for (const json& line : cases_of(kGolden / GetParam())) {
    const auto ids = line["tokens"].get<std::vector<int32_t>>();
    SCOPED_TRACE(line["tokens"].dump());
    for (const bool skip : {false, true}) {
      const std::string want = line[skip ? "decoded_plain" : "decoded"];
      EXPECT_EQ(tokenizer.decode(ids, skip), want);
      StreamDecoder stream(tokenizer, skip);
      std::string streamed;
      for (const int32_t id : ids) {
        const std::string piece = stream.push(id);
        EXPECT_TRUE(is_utf8(piece));
        streamed += piece;
      }
      EXPECT_EQ(streamed + stream.finish(), want);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, TokenizerGolden,
                         ::testing::Values("gpt2", "llama3", "qwen2", "deepseek", "smollm2",
                                           "llama2", "metaspace"),
                         [](const auto& info) { return std::string(info.param); });

TEST(Tokenizer, MergesByRank) {
  EXPECT_THAT(load(small()).encode("abc ab"), ElementsAre(5, 3, 2));
  EXPECT_THAT(load(small()).encode("aab<eos>b"), ElementsAre(0, 2, 6, 1));
}

TEST(Tokenizer, LongWordsMergeAsShortOnes) {
  // 'a' 63 times and 65 times stand on either side of the switch from scanning to a heap.
  json content = small();
  content["model"]["vocab"] = {{"a", 0}, {"aa", 1}, {"aaaa", 2}};
  content["model"]["merges"] = {"a a", "aa aa"};
  content["added_tokens"] = json::array();
  const Tokenizer tokenizer = load(content);
  for (const int length : {1, 2, 3, 63, 64, 65, 66, 67, 1000}) {
    std::vector<int32_t> want(length / 4, 2);
    if (length % 4 >= 2) want.push_back(1);
    if (length % 2 == 1) want.push_back(0);
    EXPECT_EQ(tokenizer.encode(std::string(length, 'a')), want) << length;
  }
}

TEST(Tokenizer, IllFormedTextCountsAsReplacementCharacters) {
  const Tokenizer tokenizer = Tokenizer::from_folder(kGolden / "gpt2");
  EXPECT_EQ(tokenizer.encode("a\xFF\xE4\xBD b\xED\xA0\x80"),
            tokenizer.encode("a\uFFFD\uFFFD b\uFFFD\uFFFD\uFFFD"));
}

TEST(Tokenizer, KnowsItsVocabulary) {
  const Tokenizer tokenizer = load(small());
  EXPECT_EQ(tokenizer.vocab_size(), 7);
  EXPECT_EQ(tokenizer.token_to_id("Ġ"), 3);
  EXPECT_EQ(tokenizer.token_to_id("<eos>"), 6);
  EXPECT_EQ(tokenizer.token_to_id("x"), std::nullopt);
  EXPECT_EQ(tokenizer.id_to_token(5), "abc");
  EXPECT_EQ(tokenizer.id_to_token(7), "");
  EXPECT_EQ(tokenizer.id_to_token(-1), "");
  EXPECT_TRUE(tokenizer.is_special(6));
  EXPECT_FALSE(tokenizer.is_special(5));
  EXPECT_FALSE(tokenizer.is_special(700));
  const std::vector<int32_t> outside = {0, 99, -5, 1};
  EXPECT_EQ(tokenizer.decode(outside), "ab");
}

TEST(Tokenizer, ThreadsShareOne) {
  const Tokenizer tokenizer = Tokenizer::from_folder(kGolden / "qwen2");
  const std::vector<json> cases = cases_of(kGolden / "qwen2");
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (const json& line : cases) {
        if (!line.contains("text")) continue;
        const auto got =
            tokenizer.encode(line["text"].get<std::string>(), line["special"].get<bool>());
        wrong += got != line["tokens"].get<std::vector<int32_t>>();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(StreamDecoder, HoldsBackUnfinishedCharacters) {
  const Tokenizer tokenizer = Tokenizer::from_folder(kGolden / "gpt2");
  StreamDecoder decoder(tokenizer);
  const std::string euro = "\xE2\x82\xAC";
  std::vector<std::string> pieces;
  for (const char* token : {"â", "Ĥ", "¬", "â", "Ĥ", "a"})
    pieces.push_back(decoder.push(*tokenizer.token_to_id(token)));
  EXPECT_THAT(pieces, ElementsAre("", "", euro, "", "", "\uFFFDa"));
  EXPECT_EQ(decoder.push(*tokenizer.token_to_id("â")), "");
  EXPECT_EQ(decoder.finish(), "\uFFFD");
  EXPECT_EQ(decoder.finish(), "");
}

class TokenizerFolder : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
  }
  std::string error() {
    try {
      Tokenizer::from_folder(folder_);
    } catch (const core::UserError& error) {
      return error.what();
    }
    return "no error";
  }
  test::TempDir temp_;
  const fs::path folder_ = temp_.path();
};

TEST_F(TokenizerFolder, ReadsSpecialTokensFromEitherFile) {
  write("tokenizer.json", small().dump());
  write("tokenizer_config.json",
        R"({"eos_token": {"content": "<eos>", "lstrip": false}, "pad_token": null})");
  write("special_tokens_map.json", R"({"bos_token": "a"})");
  const Tokenizer tokenizer = Tokenizer::from_folder(folder_);
  EXPECT_EQ(tokenizer.eos_id(), 6);
  EXPECT_EQ(tokenizer.bos_id(), 0);
  EXPECT_EQ(tokenizer.pad_id(), std::nullopt);
}

TEST_F(TokenizerFolder, NamesFileAndPlaceOfWhatIsWrong) {
  const std::string deep = fuzz::nested_lists(100'000);
  EXPECT_THAT(error(), HasSubstr("tokenizer.json: No such file"));
  write("tokenizer.json", "{\"model\": ");
  EXPECT_THAT(error(), HasSubstr("tokenizer.json: broken JSON"));
  for (const char* key : {"vocab", "merges"}) {
    write("tokenizer.json", fmt::format(R"({{"model": {{"{}": {}}}}})", key, deep));
    EXPECT_THAT(error(), HasSubstr("tokenizer.json: JSON that is nested deeper than 200"));
  }
  write("tokenizer.json", small().dump());
  write("tokenizer_config.json", R"({"eos_token": "<end>"})");
  write("special_tokens_map.json", fmt::format(R"({{"eos_token": {}}})", deep));
  EXPECT_THAT(
      error(),
      HasSubstr(
          "tokenizer_config.json.eos_token: expected a token of tokenizer.json, found \"<end>\""));
  write("tokenizer_config.json", "{}");
  EXPECT_THAT(error(), HasSubstr("special_tokens_map.json: JSON that is nested deeper than 200"));
}

TEST(Tokenizer, EachWrongInputHasItsOwnError) {
  struct Case {
    const char* name;
    std::function<void(json&)> breaks;
    const char* says;
  };
  const Case kCases[] = {
      {"NotAnObject", [](json& j) { j = json::array(); }, "t.json: expected an object"},
      {"NoModel", [](json& j) { j.erase("model"); }, "t.json.model"},
      {"OtherModel", [](json& j) { j["model"]["type"] = "Unigram"; },
       "t.json.model.type: expected \"BPE\""},
      {"NoVocabulary", [](json& j) { j["model"].erase("vocab"); },
       "t.json.model.vocab: expected an object of tokens"},
      {"EmptyVocabulary", [](json& j) { j["model"]["vocab"] = json::object(); },
       "t.json.model.vocab"},
      {"SameId", [](json& j) { j["model"]["vocab"]["b"] = 0; },
       "the tokens 'a' and 'b' have the same id 0"},
      {"NegativeId", [](json& j) { j["model"]["vocab"]["b"] = -1; }, "token 'b' has the id -1"},
      {"HugeId", [](json& j) { j["model"]["vocab"]["b"] = 4000000000u; },
       "token 'b' has the id 4000000000"},
      {"IdNoNumber", [](json& j) { j["model"]["vocab"]["b"] = "1"; }, "token 'b' has the id \"1\""},
      {"NoMerges", [](json& j) { j["model"].erase("merges"); },
       "t.json.model.merges: expected a list"},
      {"MergeOfNoToken", [](json& j) { j["model"]["merges"][0] = "a x"; },
       "merges[0]: expected tokens of the vocabulary ('x'"},
      {"MergeIntoNoToken", [](json& j) { j["model"]["merges"][0] = "b a"; }, "('ba' is none)"},
      {"MergeOfThree", [](json& j) { j["model"]["merges"][1] = "a b c"; },
       "merges[1]: expected two tokens"},
      {"MergeNoText", [](json& j) { j["model"]["merges"][1] = 3; },
       "merges[1]: expected two tokens"},
      {"Dropout", [](json& j) { j["model"]["dropout"] = 0.1; }, "t.json.model.dropout"},
      {"UnknownUnk", [](json& j) { j["model"]["unk_token"] = "<unk>"; }, "t.json.model.unk_token"},
      {"Suffix", [](json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }, "end_of_word_suffix"},
      {"Normalizer",
       [](json& j) {
         j["normalizer"] = {{"type", "Nmt"}};
       },
       "t.json.normalizer: unknown normalizer 'Nmt'"},
      {"PreTokenizer", [](json& j) { j["pre_tokenizer"]["type"] = "Bert"; },
       "t.json.pre_tokenizer: unknown pre-tokenizer 'Bert'"},
      {"PostProcessor",
       [](json& j) {
         j["post_processor"] = {{"type", "X"}};
       },
       "unknown post-processor 'X'"},
      {"Decoder",
       [](json& j) {
         j["decoder"] = {{"type", "CTC"}};
       },
       "t.json.decoder: unknown decoder 'CTC'"},
      {"NoType",
       [](json& j) {
         j["decoder"] = {{"typo", "CTC"}};
       },
       "t.json.decoder.type: expected a string, found nothing"},
      {"Regex",
       [](json& j) {
         j["pre_tokenizer"] = {
             {"type", "Split"}, {"pattern", {{"Regex", "(a"}}}, {"behavior", "Isolated"}};
       },
       "t.json.pre_tokenizer.pattern: the regex does not compile"},
      {"Behavior",
       [](json& j) {
         j["pre_tokenizer"] = {
             {"type", "Split"}, {"pattern", {{"Regex", "a"}}}, {"behavior", "Shredded"}};
       },
       "behavior: expected Isolated, Removed"},
      {"AddedIdTwice",
       [](json& j) {
         j["added_tokens"].push_back({{"id", 6}, {"content", "<x>"}});
       },
       "the added tokens '<eos>' and '<x>' have the same id 6"},
      {"AddedTwice",
       [](json& j) {
         j["added_tokens"].push_back({{"id", 7}, {"content", "<eos>"}});
       },
       "the added token '<eos>' has the ids 6 and 7"},
      {"AddedOtherId",
       [](json& j) {
         j["added_tokens"].push_back({{"id", 7}, {"content", "ab"}});
       },
       "the added token 'ab' has the id 7, but 2 in the vocabulary"},
      {"AddedHugeId", [](json& j) { j["added_tokens"][0]["id"] = 2000000000; },
       "added_tokens[0].id"},
      {"AddedNoContent", [](json& j) { j["added_tokens"][0].erase("content"); },
       "added_tokens[0].content"},
  };
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    json content = small();
    c.breaks(content);
    try {
      load(content);
      ADD_FAILURE() << "no error";
    } catch (const core::UserError& error) {
      EXPECT_THAT(error.what(), HasSubstr(c.says));
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    }
  }
}

TEST(Tokenizer, DeepNestingIsAnError) {
  json normalizer = {{"type", "NFC"}};
  for (int i = 0; i < 1000; ++i) normalizer = {{"type", "Sequence"}, {"normalizers", {normalizer}}};
  json content = small();
  content["normalizer"] = normalizer;
  EXPECT_THROW(load(content), core::UserError);
}

}  // namespace
}  // namespace ponder::policy
