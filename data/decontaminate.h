// Training prompts that say what an evaluation asks: found by shared n-grams of words.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace ponder::data {

// The words of the texts to keep out. A text shares an n-gram with another where `n` words in a row
// are the same, letters in lower case and all but letters, digits and bytes beyond ASCII taken as
// spaces: open-r1's scripts/decontaminate.py (n = 8) and GPT-3's appendix C (n = 13,
// arXiv:2005.14165). A text of fewer than n words is its own n-gram.
class NgramSet {
 public:
  explicit NgramSet(int64_t n);  // n >= 1

  void add(std::string_view text);
  bool touches(std::string_view text) const;
  size_t size() const { return hashes_.size(); }

 private:
  std::vector<uint64_t> ngrams(std::string_view text) const;

  int64_t n_;
  std::unordered_set<uint64_t> hashes_;  // 64 bits: a false match among 10^9 has odds of 10^-10
};

}  // namespace ponder::data
