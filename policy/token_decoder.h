// The "decoder" of a tokenizer.json: tokens in the vocabulary's spelling -> text.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "policy/json_place.h"

namespace ponder::policy {

// Immutable; shared between threads. Knows ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace
// and Sequence.
class TokenDecoder {
 public:
  TokenDecoder() = default;  // tokens with a space between, as `tokenizers` does without a decoder
  // `component` may be null. Throws UserError on an unknown type.
  explicit TokenDecoder(const JsonPlace& component);

  // ByteLevel alone: each token gives its bytes and the text is their concatenation.
  bool is_byte_level() const { return is_byte_level_; }
  // What `token` stands for then: the bytes that it spells, or, where it has other characters,
  // itself.
  static std::string token_bytes(std::string_view token);

  // Takes the tokens apart; the result is valid UTF-8.
  std::string operator()(std::vector<std::string> tokens) const;

 private:
  std::vector<std::function<void(std::vector<std::string>&)>> steps_;
  bool is_byte_level_ = false;
  bool has_decoder_ = false;
};

// The byte of a token like "<0x0A>", or -1.
int fallback_byte(std::string_view token);

}  // namespace ponder::policy
