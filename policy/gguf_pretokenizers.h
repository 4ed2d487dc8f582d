// What GGUF's `tokenizer.ggml.pre` stands for in a tokenizer.json: GGUF keeps only a name of the
// splitting rules. Private to gguf_tokenizer.cpp and its tests.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace ponder::policy {

struct GgufPreTokenizer {
  const char* name;
  enum class Rules { kGpt2, kDigits, kQwen2, kLlama3, kDeepseekLlm, kDeepseekCoder, kDeepseekV3 };
  Rules rules;
  bool nfc = false;             // the text is brought to NFC first
  bool ignores_merges = false;  // a word that is a token is not merged
  bool adds_bos = false;        // where the file does not say
};

// nullptr for names whose rules ponder does not know.
const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view name);
std::vector<std::string> gguf_pre_tokenizer_names();

// The "pre_tokenizer" of the tokenizer.json.
nlohmann::json gguf_pre_tokenizer_json(const GgufPreTokenizer& pre);

}  // namespace ponder::policy
