// The "pre_tokenizer" of a tokenizer.json: cuts text into words, which the BPE model then encodes
// one by one.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "policy/json_place.h"

namespace ponder::policy {

// The words of one text. `words` point into the text that was cut or into `rewritten`.
struct Words {
  std::vector<std::string_view> words;
  std::deque<std::string> rewritten;
  bool at_text_start =
      true;  // the text is the beginning of what the user gave (Metaspace's "first")
};

// Immutable; shared between threads. Knows Split, ByteLevel, Digits, Whitespace, WhitespaceSplit,
// Punctuation, Metaspace and Sequence.
class PreTokenizer {
 public:
  PreTokenizer() = default;  // each text is one word
  // `component` may be null. Throws UserError on an unknown type or behavior, a bad regex.
  explicit PreTokenizer(const JsonPlace& component);

  // The last step is ByteLevel: its words are left as raw bytes, and the model reads each byte as
  // its character in the byte alphabet. Saves writing every word twice.
  bool yields_raw_bytes() const { return yields_raw_bytes_; }

  // Cuts the one text in words.words in place. No word is empty.
  void operator()(Words& words) const;

 private:
  std::vector<std::function<void(Words&)>> steps_;
  bool yields_raw_bytes_ = false;
};

}  // namespace ponder::policy
