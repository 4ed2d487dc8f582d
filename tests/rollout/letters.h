// A tokenizer of fifty one-byte tokens, '0' to 'a', for tests that read text.
#pragma once

#include <string>

#include <fmt/format.h>

#include "policy/tokenizer.h"

namespace ponder::rollout {

inline int32_t letter_id(char c) {
  return c - '0';
}

inline policy::Tokenizer letters() {
  std::string vocab;
  for (int i = 0; i < 50; ++i)
    vocab += fmt::format("{}\"{}\": {}", i == 0 ? "" : ", ", static_cast<char>('0' + i), i);
  // '0' + i passes over the backslash (44): JSON needs it escaped.
  const size_t slash = vocab.find("\"\\\"");
  vocab.replace(slash, 3, "\"\\\\\"");
  return policy::Tokenizer::from_json(
      R"({"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}, "post_processor": null, "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}, "model": {"type": "BPE", "vocab": {)" +
          vocab + R"(}, "merges": []}})",
      "letters");
}

}  // namespace ponder::rollout
