// A completion's text as its tokens come: whole characters, cut at the first stop string, with what
// may yet become one held back.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "policy/tokenizer.h"

namespace ponder::rollout {

class TextStream {
 public:
  // The text ends before the stop string, or behind it.
  TextStream(const policy::Tokenizer& tokenizer, bool skip_special_tokens,
             std::vector<std::string> stops, bool include_stop = false);

  // Takes a token; returns the text that is certain now. A stop string may begin and end anywhere,
  // across tokens: the one that begins first counts, the shortest of these. After it nothing more
  // comes.
  std::string push(int32_t token);
  // The rest, where the completion ended without a stop string.
  std::string finish();

  bool stopped() const { return stopped_; }
  // All that push() and finish() have returned.
  const std::string& text() const { return text_; }

 private:
  std::string give_out(size_t bytes);

  policy::StreamDecoder decoder_;
  std::vector<std::string> stops_;
  bool include_stop_;
  std::string text_, held_;
  bool stopped_ = false;
};

}  // namespace ponder::rollout
