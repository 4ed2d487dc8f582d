// A tokenizer whose tokens are single bytes: letters, and the four of an emoji.
#pragma once

#include <string>

#include <fmt/format.h>

#include "policy/byte_alphabet.h"
#include "policy/tokenizer.h"

namespace ponder::rollout {

inline constexpr const char* kEmoji = "\xF0\x9F\x98\x80";  // tokens 2, 3, 4, 5 behind "a" and "b"

inline policy::Tokenizer byte_tokens() {
  std::string vocab = R"("a": 0, "b": 1)";
  for (int i = 0; i < 4; ++i)
    vocab += fmt::format(
        R"(, "{}": {})",
        policy::ByteAlphabet::instance().spelling[static_cast<unsigned char>(kEmoji[i])], 2 + i);
  return policy::Tokenizer::from_json(
      R"({"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}, "post_processor": null, "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}, "model": {"type": "BPE", "vocab": {)" +
          vocab + R"(}, "merges": []}})",
      "bytes");
}

}  // namespace ponder::rollout
