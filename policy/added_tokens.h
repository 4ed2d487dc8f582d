// The "added_tokens" of a tokenizer.json: tokens that are found in the text itself before the model
// sees it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "policy/bpe.h"
#include "policy/json_place.h"
#include "policy/normalizer.h"
#include "policy/unicode_regex.h"

namespace ponder::policy {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool special = false;      // left out by decode(skip_special_tokens)
  bool normalized = false;   // looked for in the normalized text
  bool lstrip = false;       // takes the white space on its left with it
  bool rstrip = false;       // and on its right
  bool single_word = false;  // only where no word character is next to it
};

// A stretch of text: an added token, or (id -1) text between them.
struct Segment {
  std::string_view text;
  int32_t id = -1;
};

// Finds tokens in text: of those that begin first the longest. Immutable after construction.
class TokenFinder {
 public:
  // `contents[i]` is what tokens[i] looks like in the text. Keeps no reference.
  TokenFinder(const std::vector<AddedToken>& tokens, const std::vector<std::string>& contents);

  // Appends the stretches of `text`, which they cover but for white space that a token strips.
  void split(std::string_view text, std::vector<Segment>& segments) const;

 private:
  struct Node {
    std::vector<std::pair<unsigned char, int32_t>> children;  // sorted by byte
    int32_t token = -1;
  };
  int32_t child(int32_t node, unsigned char byte) const;
  void insert(std::string_view content, int32_t token);

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;
  bool starts_[256] = {};
  UnicodeRegex word_start_;
  UnicodeRegex word_end_;
  UnicodeRegex space_start_;
  UnicodeRegex space_end_;
};

// Reads "added_tokens" (null: none) against the model's vocabulary; numbers them as `tokenizers`
// does. Throws UserError on broken entries, an id out of range, and an id or a content given to two
// tokens.
std::vector<AddedToken> read_added_tokens(const JsonPlace& list, const TextMap& vocabulary);

}  // namespace ponder::policy
