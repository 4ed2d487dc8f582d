// The "normalizer" of a tokenizer.json: rewrites text before it is cut into words.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "policy/json_place.h"

namespace ponder::policy {

// Immutable; shared between threads. Knows NFC, NFD, NFKC, NFKD, Lowercase, Replace, Prepend, Strip
// and Sequence.
class Normalizer {
 public:
  Normalizer() = default;  // changes nothing
  // `component` may be null. Throws UserError on an unknown type, a bad regex.
  explicit Normalizer(const JsonPlace& component);

  bool changes_nothing() const { return steps_.empty(); }
  // `text` is valid UTF-8, and so is the result.
  std::string operator()(std::string_view text) const;

 private:
  std::vector<std::function<void(std::string&)>> steps_;
};

}  // namespace ponder::policy
