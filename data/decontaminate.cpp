#include "data/decontaminate.h"

#include <algorithm>

#include "core/error.h"
#include "core/random.h"

namespace ponder::data {
namespace {

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  bool open = false;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool letter = (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') ||
                        (byte >= 'A' && byte <= 'Z') || byte >= 0x80;
    if (letter) {
      if (!open) words.emplace_back();
      words.back() += byte >= 'A' && byte <= 'Z' ? static_cast<char>(byte - 'A' + 'a') : c;
    }
    open = letter;
  }
  return words;
}

}  // namespace

NgramSet::NgramSet(int64_t n) : n_(n) {
  PONDER_CHECK(n >= 1, "[NgramSet] expected n-grams of at least one word, got {}", n);
}

void NgramSet::add(std::string_view text) {
  for (const uint64_t hash : ngrams(text)) hashes_.insert(hash);
}

bool NgramSet::touches(std::string_view text) const {
  const std::vector<uint64_t> all = ngrams(text);
  return std::any_of(all.begin(), all.end(), [&](uint64_t hash) { return hashes_.contains(hash); });
}

std::vector<uint64_t> NgramSet::ngrams(std::string_view text) const {
  const std::vector<std::string> words = words_of(text);
  std::vector<uint64_t> out;
  if (words.empty()) return out;
  const size_t n = std::min<size_t>(static_cast<size_t>(n_), words.size());
  for (size_t begin = 0; begin + n <= words.size(); ++begin) {
    std::string ngram;
    for (size_t i = begin; i < begin + n; ++i) ngram += words[i] + ' ';
    out.push_back(core::stable_hash(ngram));
  }
  return out;
}

}  // namespace ponder::data
