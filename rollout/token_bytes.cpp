#include "rollout/token_bytes.h"

#include <vector>

#include <fmt/format.h>

#include "policy/byte_alphabet.h"
#include "policy/token_decoder.h"
#include "policy/utf8.h"

namespace ponder::rollout {
namespace {

constexpr const char* kReplacement = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace

std::string token_bytes(const policy::Tokenizer& tokenizer, int32_t id) {
  const std::string text = tokenizer.decode(std::vector<int32_t>{id});
  if (text.find(kReplacement) == std::string::npos) {
    // Behind itself: some decoders take a space from the text's beginning.
    const std::string twice = tokenizer.decode(std::vector<int32_t>{id, id});
    return twice.starts_with(text) ? twice.substr(text.size()) : text;
  }
  const std::string spelling = tokenizer.id_to_token(id);
  const int byte = policy::fallback_byte(spelling);
  if (byte >= 0) return {static_cast<char>(byte)};
  return policy::ByteAlphabet::instance().bytes(spelling).value_or(spelling);
}

std::string token_name(const policy::Tokenizer& tokenizer, int32_t id) {
  const std::string bytes = token_bytes(tokenizer, id);
  if (policy::is_utf8(bytes)) return bytes;
  std::string name = "bytes:";
  for (const unsigned char c : bytes) name += fmt::format("\\x{:02x}", c);
  return name;
}

}  // namespace ponder::rollout
