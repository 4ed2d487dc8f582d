#include "policy/gguf_pretokenizers.h"

#include "core/error.h"

namespace ponder::policy {
namespace {

using Json = nlohmann::json;
using Rules = GgufPreTokenizer::Rules;

// Names as llama.cpp's converter writes them (convert_hf_to_gguf.py, get_vocab_base_pre).
constexpr GgufPreTokenizer kKnown[] = {
    {.name = "gpt-2", .rules = Rules::kGpt2},
    {.name = "phi-2", .rules = Rules::kGpt2},
    {.name = "smollm", .rules = Rules::kDigits},
    {.name = "starcoder", .rules = Rules::kDigits},
    {.name = "refact", .rules = Rules::kDigits},
    {.name = "command-r", .rules = Rules::kDigits, .nfc = true},
    {.name = "qwen2", .rules = Rules::kQwen2, .nfc = true},
    {.name = "deepseek-r1-qwen", .rules = Rules::kQwen2, .nfc = true},
    {.name = "llama-bpe", .rules = Rules::kLlama3, .ignores_merges = true, .adds_bos = true},
    {.name = "llama3", .rules = Rules::kLlama3, .ignores_merges = true, .adds_bos = true},
    {.name = "llama-v3", .rules = Rules::kLlama3, .ignores_merges = true, .adds_bos = true},
    {.name = "deepseek-llm", .rules = Rules::kDeepseekLlm},
    {.name = "deepseek-coder", .rules = Rules::kDeepseekCoder},
    {.name = "deepseek-v3", .rules = Rules::kDeepseekV3},
};

constexpr char kQwen2Split[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr char kLlama3Split[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Letters with case as DeepSeek-LLM's tokenizer.json lists them; spelled by code point, for three
// of the ends are characters that Unicode's normal form C replaces.
constexpr char kDeepseekLlmLetters[] =
    "\\s?["
    "A-Za-z\u00B5\u00C0-\u00D6\u00D8-\u00F6\u00F8-\u01BA\u01BC-\u01BF\u01C4-\u0293"
    "\u0295-\u02AF\u0370-\u0373\u0376\u0377\u037B-\u037D\u037F\u0386\u0388-\u038A\u038C"
    "\u038E-\u03A1\u03A3-\u03F5\u03F7-\u0481\u048A-\u052F\u0531-\u0556\u10A0-\u10C5"
    "\u13A0-\u13F5\u13F8-\u13FD\u1C90-\u1CBA\u1CBD-\u1CBF\u1D00-\u1D2B\u1D6B-\u1D77"
    "\u1D79-\u1D9A\u1E00-\u1F15\u1F18-\u1F1D\u1F20-\u1F45\u1F48-\u1F4D\u1F50-\u1F57\u1F59"
    "\u1F5B\u1F5D\u1F5F-\u1F7D\u1F80-\u1FB4\u1FB6-\u1FBC\u1FBE\u1FC2-\u1FC4\u1FC6-\u1FCC"
    "\u1FD0-\u1FD3\u1FD6-\u1FDB\u1FE0-\u1FEC\u1FF2-\u1FF4\u1FF6-\u1FFC\u2102\u2107"
    "\u210A-\u2113\u2115\u2119-\u211D\u2124\u2126\u2128\u212A-\u212D\u212F-\u2134\u2139"
    "\u213C-\u213F\u2145-\u2149\u214E\u2183\u2184\u2C00-\u2C7B\u2C7E-\u2CE4\u2CEB-\u2CEE"
    "\u2CF2\u2CF3\uA640-\uA66D\uA680-\uA69B\uA722-\uA76F\uA771-\uA787\uA78B-\uA78E"
    "\uAB70-\uABBF\uFB00-\uFB06\uFB13-\uFB17\uFF21-\uFF3A\uFF41-\uFF5A\U00010400-\U0001044F"
    "\U000104B0-\U000104D3\U000104D8-\U000104FB\U00010C80-\U00010CB2\U00010CC0-\U00010CF2"
    "\U000118A0-\U000118DF\U0001E900-\U0001E943"
    "]+";
constexpr char kDeepseekLlmPunctuation[] =
    "\\s?[!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002]+";
constexpr char kDeepseekHan[] = "[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+";
constexpr char kDeepseekV3Han[] = "[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+";
constexpr char kDeepseekV3Split[] = R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^)"
                                    "\r\n"
                                    R"(\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[)"
                                    "\r\n"
                                    R"(]*|\s*[)"
                                    "\r\n"
                                    R"(]+|\s+(?!\S)|\s+)";

Json split(const char* pattern) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", pattern}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

Json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

Json digits() {
  return {{"type", "Digits"}, {"individual_digits", true}};
}

Json steps(Rules rules) {
  switch (rules) {
    case Rules::kGpt2:
      return Json::array({byte_level(true)});
    case Rules::kDigits:
      return Json::array({digits(), byte_level(true)});
    case Rules::kQwen2:
      return Json::array({split(kQwen2Split), byte_level(false)});
    case Rules::kLlama3:
      return Json::array({split(kLlama3Split), byte_level(false)});
    case Rules::kDeepseekLlm:
      return Json::array({split("[\r\n]"), split(kDeepseekLlmLetters),
                          split(kDeepseekLlmPunctuation), split(R"(\s+$)"), split(kDeepseekHan),
                          digits(), byte_level(false)});
    case Rules::kDeepseekCoder:
      return Json::array({split("[\r\n]"), split(R"(\s?\p{L}+)"), split(R"(\s?\p{P}+)"),
                          split(kDeepseekHan), digits(), byte_level(false)});
    case Rules::kDeepseekV3:
      return Json::array({split(R"(\p{N}{1,3})"), split(kDeepseekV3Han), split(kDeepseekV3Split),
                          byte_level(false)});
  }
  PONDER_CHECK(false, "[gguf_pre_tokenizer_json] no such rules");
}

}  // namespace

const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view name) {
  for (const GgufPreTokenizer& entry : kKnown) {
    if (name == entry.name) return &entry;
  }
  return nullptr;
}

std::vector<std::string> gguf_pre_tokenizer_names() {
  std::vector<std::string> names;
  for (const GgufPreTokenizer& entry : kKnown) names.emplace_back(entry.name);
  return names;
}

Json gguf_pre_tokenizer_json(const GgufPreTokenizer& pre) {
  return {{"type", "Sequence"}, {"pretokenizers", steps(pre.rules)}};
}

}  // namespace ponder::policy
