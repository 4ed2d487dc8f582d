#include "policy/gguf_tokenizer.h"

#include <algorithm>
#include <unordered_set>

#include "core/error.h"
#include "core/spelling.h"
#include "policy/gguf_pretokenizers.h"

namespace ponder::policy {
namespace {

using Json = nlohmann::json;

// tokenizer.ggml.token_type, as llama.h numbers it.
constexpr int64_t kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5;

struct Tokens {
  std::vector<std::string_view> texts;
  std::vector<int64_t> types;
};

Tokens read_tokens(const GgufContent& file) {
  Tokens tokens;
  const auto texts = file.texts("tokenizer.ggml.tokens");
  if (!texts || texts->empty())
    core::throw_user("{}: tokenizer.ggml.tokens is missing: the file has no tokenizer",
                     file.where());
  tokens.texts = *texts;
  const auto types = file.integers("tokenizer.ggml.token_type");
  tokens.types = types.value_or(std::vector<int64_t>(texts->size(), 1));
  if (tokens.types.size() != tokens.texts.size()) {
    core::throw_user("{}: tokenizer.ggml.token_type has {} entries, tokenizer.ggml.tokens {}",
                     file.where(), tokens.types.size(), tokens.texts.size());
  }
  std::unordered_set<std::string_view> seen;
  for (size_t i = 0; i < tokens.texts.size(); ++i) {
    if (!seen.insert(tokens.texts[i]).second) {
      core::throw_user("{}: tokenizer.ggml.tokens[{}] '{}' is given twice", file.where(), i,
                       tokens.texts[i]);
    }
  }
  return tokens;
}

bool is_added(int64_t type) {
  return type == kControl || type == kUserDefined || type == kUnknown;
}

// Tokens up to the last one that BPE can make are the model's vocabulary; behind it stand added
// tokens, and unused ids that only fill the embedding up and get no token at all.
size_t vocabulary_size(const Tokens& tokens) {
  size_t size = tokens.texts.size();
  while (size > 0 && (is_added(tokens.types[size - 1]) || tokens.types[size - 1] == kUnused))
    --size;
  return size;
}

Json vocabulary(const Tokens& tokens) {
  Json::object_t vocabulary;
  const size_t size = vocabulary_size(tokens);
  for (size_t i = 0; i < size; ++i) vocabulary.emplace(tokens.texts[i], i);
  return vocabulary;
}

Json added_tokens(const Tokens& tokens) {
  Json list = Json::array();
  for (size_t i = 0; i < tokens.texts.size(); ++i) {
    if (!is_added(tokens.types[i])) continue;
    list.push_back({{"id", i},
                    {"content", tokens.texts[i]},
                    {"single_word", false},
                    {"lstrip", false},
                    {"rstrip", false},
                    {"normalized", false},
                    {"special", tokens.types[i] != kUserDefined}});
  }
  return list;
}

Json merges(const GgufContent& file) {
  const auto texts = file.texts("tokenizer.ggml.merges");
  if (!texts) core::throw_user("{}: tokenizer.ggml.merges is missing", file.where());
  Json list = Json::array();
  for (size_t i = 0; i < texts->size(); ++i) {
    const std::string_view merge = (*texts)[i];
    const size_t space = merge.find(' ');
    if (space == 0 || space + 1 >= merge.size() || space == std::string_view::npos ||
        merge.find(' ', space + 1) != std::string_view::npos) {
      core::throw_user("{}: tokenizer.ggml.merges[{}] is '{}', expected two tokens", file.where(),
                       i, merge);
    }
    list.push_back({merge.substr(0, space), merge.substr(space + 1)});
  }
  return list;
}

const GgufPreTokenizer& pipeline(const GgufContent& file) {
  const std::string model(file.require_text("tokenizer.ggml.model"));
  if (model != "gpt2") {
    core::throw_user(
        "{}: tokenizer.ggml.model is '{}', expected 'gpt2' (byte-level BPE): take the "
        "tokenizer.json "
        "of the original model",
        file.where(), model);
  }
  const std::string name(file.require_text("tokenizer.ggml.pre"));
  const GgufPreTokenizer* found = find_gguf_pre_tokenizer(name);
  if (found == nullptr) {
    core::throw_user("{}: tokenizer.ggml.pre: unknown pre-tokenizer '{}'{}", file.where(), name,
                     core::suggestion(name, gguf_pre_tokenizer_names()));
  }
  return *found;
}

// The template that puts bos in front and eos behind where the file asks for it.
Json post_processor(const GgufContent& file, const Tokens& tokens, const GgufPreTokenizer& pre) {
  const GgufTokenIds ids = gguf_token_ids(file);
  Json single = Json::array(), pair = Json::array(), special = Json::object();
  const auto put = [&](int64_t id) {
    const std::string text(tokens.texts[id]);
    const Json piece = {{"SpecialToken", {{"id", text}, {"type_id", 0}}}};
    single.push_back(piece);
    pair.push_back(piece);
    special[text] = {{"id", text}, {"ids", {id}}, {"tokens", {text}}};
  };
  const bool bos = file.boolean("tokenizer.ggml.add_bos_token").value_or(pre.adds_bos);
  const bool eos = file.boolean("tokenizer.ggml.add_eos_token").value_or(false);
  if (bos && ids.bos) put(*ids.bos);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  pair.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  if (eos && ids.eos) put(*ids.eos);
  if (special.empty()) return nullptr;
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 0}}}});
  return {{"type", "TemplateProcessing"},
          {"single", std::move(single)},
          {"pair", std::move(pair)},
          {"special_tokens", std::move(special)}};
}

}  // namespace

GgufTokenIds gguf_token_ids(const GgufContent& file) {
  const auto tokens = file.texts("tokenizer.ggml.tokens");
  const auto id = [&](const char* key) -> std::optional<int64_t> {
    const auto value = file.integer(key);
    // Some writers put -1 or 2^32 - 1 for none.
    if (!value || *value == -1 || *value == UINT32_MAX) return std::nullopt;
    if (!tokens || *value < 0 || *value >= static_cast<int64_t>(tokens->size())) {
      core::throw_user("{}: {} is {}, which is no token", file.where(), key, *value);
    }
    return value;
  };
  GgufTokenIds ids{.bos = id("tokenizer.ggml.bos_token_id"),
                   .eos = id("tokenizer.ggml.eos_token_id"),
                   .pad = id("tokenizer.ggml.padding_token_id"),
                   .unk = id("tokenizer.ggml.unknown_token_id"),
                   .ends = {}};
  for (const auto& end :
       {ids.eos, id("tokenizer.ggml.eot_token_id"), id("tokenizer.ggml.eom_token_id")}) {
    if (end && std::find(ids.ends.begin(), ids.ends.end(), *end) == ids.ends.end())
      ids.ends.push_back(*end);
  }
  return ids;
}

Json gguf_tokenizer_json(const GgufContent& file) {
  const GgufPreTokenizer& pre = pipeline(file);
  const Tokens tokens = read_tokens(file);
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", added_tokens(tokens)},
          {"normalizer", pre.nfc ? Json{{"type", "NFC"}} : Json()},
          {"pre_tokenizer", gguf_pre_tokenizer_json(pre)},
          {"post_processor", post_processor(file, tokens, pre)},
          {"decoder",
           {{"type", "ByteLevel"},
            {"add_prefix_space", true},
            {"trim_offsets", true},
            {"use_regex", true}}},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", pre.ignores_merges},
            {"vocab", vocabulary(tokens)},
            {"merges", merges(file)}}}};
}

Json gguf_tokenizer_config(const GgufContent& file, int64_t context) {
  const Tokens tokens = read_tokens(file);
  const GgufTokenIds ids = gguf_token_ids(file);
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"clean_up_tokenization_spaces", false},
                 {"model_max_length", context}};
  const std::pair<const char*, std::optional<int64_t>> named[] = {{"bos_token", ids.bos},
                                                                  {"eos_token", ids.eos},
                                                                  {"pad_token", ids.pad},
                                                                  {"unk_token", ids.unk}};
  for (const auto& [key, id] : named) {
    if (id) config[key] = tokens.texts[*id];
  }
  if (const auto chat = file.text("tokenizer.chat_template")) config["chat_template"] = *chat;
  return config;
}

}  // namespace ponder::policy
