// The BPE model of a tokenizer.json: one word -> token ids. Knows no pre-tokenizer and no special
// tokens. Source of the algorithm: Sennrich et al. 2016 (arXiv:1508.07909), section 3.2, applied by
// rank as GPT-2 does.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "policy/json_place.h"

namespace ponder::policy {

// (left id, right id) -> (rank, id of the merged token): open addressing, one probe for most
// look-ups.
class MergeTable {
 public:
  struct Merge {
    uint32_t rank = UINT32_MAX;  // UINT32_MAX: the pair does not merge
    int32_t id = 0;
  };

  explicit MergeTable(size_t num_merges = 0);
  void insert(int32_t left, int32_t right, Merge merge);  // a pair given again takes the new rank
  Merge find(int32_t left, int32_t right) const;

 private:
  struct Slot {
    uint64_t key = kEmpty;
    Merge merge;
  };
  static constexpr uint64_t kEmpty = UINT64_MAX;
  size_t slot_of(uint64_t key) const;
  std::vector<Slot> slots_;  // a power of two, at most half full
  int shift_ = 63;
};

// Lets string_views look up strings.
struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using TextMap = std::unordered_map<std::string, int32_t, TextHash, std::equal_to<>>;

// Immutable after construction; encode() may run in many threads at once.
class Bpe {
 public:
  // `raw_bytes`: words come as bytes and each stands for its character in the byte alphabet. Throws
  // UserError on a missing or empty vocabulary, ids out of range or given twice, merges that name
  // no token, an unsupported option.
  Bpe(const JsonPlace& model, bool raw_bytes);

  // Appends the ids of `word` (valid UTF-8 unless raw bytes) to `ids`.
  void encode(std::string_view word, std::vector<int32_t>& ids) const;

  const TextMap& vocabulary() const { return vocabulary_; }

 private:
  void read_vocabulary(const JsonPlace& vocabulary);
  void read_merges(const JsonPlace& merges);
  void set_raw_tables();
  void encode_uncached(std::string_view word, std::vector<int32_t>& symbols) const;
  void first_symbols(std::string_view word, std::vector<int32_t>& symbols) const;
  void unknown_symbol(std::string_view character, bool& fusing,
                      std::vector<int32_t>& symbols) const;
  void merge_short(std::vector<int32_t>& symbols) const;
  void merge_long(std::vector<int32_t>& symbols) const;

  TextMap vocabulary_;
  MergeTable merges_;
  bool raw_bytes_;
  bool ignore_merges_;
  bool byte_fallback_;
  bool fuse_unk_;
  int32_t unk_id_ = -1;
  std::array<int32_t, 256> id_of_byte_;   // raw bytes: the id of each byte's character, -1: none
  std::array<int32_t, 256> fallback_id_;  // "<0x00>".."<0xFF>", -1: none
  TextMap raw_vocabulary_;                // ignore_merges with raw bytes: the tokens as bytes
  uint64_t cache_owner_;                  // tells this model's entries in the threads' word caches
};

}  // namespace ponder::policy
