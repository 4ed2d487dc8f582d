#include "policy/bpe.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <queue>

#include "policy/byte_alphabet.h"
#include "policy/utf8.h"

namespace ponder::policy {
namespace {

constexpr size_t kMaxCachedBytes = 48;
constexpr size_t kCacheEntries = 1 << 14;  // a thread; about 1.5 MB when full
constexpr size_t kShortWord = 64;  // symbols up to which scanning for the lowest rank beats a heap

struct CacheEntry {
  uint64_t owner = 0;
  std::string word;
  std::vector<int32_t> ids;
};

// One entry a hash value: a newer word takes an older one's place.
CacheEntry& cache_entry(uint64_t owner, std::string_view word) {
  thread_local std::vector<CacheEntry> cache(kCacheEntries);
  const uint64_t hash = (std::hash<std::string_view>{}(word) ^ owner) * 0x9E3779B97F4A7C15ull;
  return cache[hash >> (64 - std::countr_zero(kCacheEntries))];
}

uint64_t next_owner() {
  static std::atomic<uint64_t> count{0};
  return ++count;
}

}  // namespace

MergeTable::MergeTable(size_t num_merges)
    : slots_(std::bit_ceil(std::max<size_t>(2 * num_merges, 2))),
      shift_(64 - std::countr_zero(slots_.size())) {}

size_t MergeTable::slot_of(uint64_t key) const {
  size_t slot = (key * 0x9E3779B97F4A7C15ull) >> shift_;
  while (slots_[slot].key != key && slots_[slot].key != kEmpty)
    slot = (slot + 1) & (slots_.size() - 1);
  return slot;
}

void MergeTable::insert(int32_t left, int32_t right, Merge merge) {
  const uint64_t key = static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
  slots_[slot_of(key)] = {key, merge};
}

MergeTable::Merge MergeTable::find(int32_t left, int32_t right) const {
  return slots_[slot_of(static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right))].merge;
}

Bpe::Bpe(const JsonPlace& model, bool raw_bytes)
    : raw_bytes_(raw_bytes),
      ignore_merges_(model.field("ignore_merges").boolean_or(false)),
      byte_fallback_(model.field("byte_fallback").boolean_or(false)),
      fuse_unk_(model.field("fuse_unk").boolean_or(false)),
      cache_owner_(next_owner()) {
  const JsonPlace type = model.field("type");
  if (type.is_null() ? model.field("merges").is_null() : type.text() != "BPE") type.fail("\"BPE\"");
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model.field(affix).text_or("").empty()) model.field(affix).fail("none (not supported)");
  }
  const JsonPlace dropout = model.field("dropout");
  if (!dropout.is_null() && dropout.value() != 0)
    dropout.fail("none: tokens must not depend on chance");
  read_vocabulary(model.field("vocab"));
  read_merges(model.field("merges"));
  const std::string unk = model.field("unk_token").text_or("");
  if (!unk.empty()) {
    const auto found = vocabulary_.find(unk);
    if (found == vocabulary_.end()) model.field("unk_token").fail("a token of the vocabulary");
    unk_id_ = found->second;
  }
  set_raw_tables();
}

void Bpe::read_vocabulary(const JsonPlace& vocabulary) {
  const Json& tokens = vocabulary.value();
  if (!tokens.is_object() || tokens.empty()) vocabulary.fail("an object of tokens and their ids");
  const size_t limit = 4 * tokens.size() + 65536;  // further out an id is damage, not a gap
  std::vector<const std::string*> holder;
  vocabulary_.reserve(tokens.size());
  for (const auto& [token, value] : tokens.items()) {
    if (!value.is_number_unsigned() || value.get<uint64_t>() >= limit) {
      core::throw_user("{}: token '{}' has the id {}, expected a whole number below {} ({} tokens)",
                       vocabulary.place(), token,
                       value.dump(-1, ' ', false, Json::error_handler_t::replace), limit,
                       tokens.size());
    }
    const auto id = value.get<int32_t>();
    const auto entry = vocabulary_.emplace(token, id).first;
    if (static_cast<size_t>(id) >= holder.size()) holder.resize(id + 1);
    if (holder[id] != nullptr) {
      core::throw_user("{}: the tokens '{}' and '{}' have the same id {}", vocabulary.place(),
                       *holder[id], token, id);
    }
    holder[id] = &entry->first;
  }
}

void Bpe::read_merges(const JsonPlace& merges) {
  const Json& list = merges.value();
  if (!list.is_array()) merges.fail("a list of merges");
  merges_ = MergeTable(list.size());
  const auto fail = [&](size_t i, std::string_view what) {
    JsonPlace(list[i], fmt::format("{}[{}]", merges.place(), i)).fail(what);
  };
  uint32_t rank = 0;
  std::string merged;
  for (size_t i = 0; i < list.size(); ++i) {
    std::string_view left;
    std::string_view right;
    if (list[i].is_string()) {
      const std::string_view text = list[i].get_ref<const std::string&>();
      if (text.starts_with("#version")) continue;
      const size_t space = text.find(' ');
      if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
        fail(i, "two tokens with a space between");
      }
      left = text.substr(0, space);
      right = text.substr(space + 1);
    } else if (list[i].is_array() && list[i].size() == 2 && list[i][0].is_string() &&
               list[i][1].is_string()) {
      left = list[i][0].get_ref<const std::string&>();
      right = list[i][1].get_ref<const std::string&>();
    } else {
      fail(i, "two tokens");
    }
    merged.assign(left).append(right);
    int32_t ids[3];
    const std::string_view names[3] = {left, right, merged};
    for (int k = 0; k < 3; ++k) {
      const auto found = vocabulary_.find(names[k]);
      if (found == vocabulary_.end()) {
        fail(i,
             fmt::format("tokens of the vocabulary ('{}' is none)", replace_ill_formed(names[k])));
      }
      ids[k] = found->second;
    }
    merges_.insert(ids[0], ids[1], {rank++, ids[2]});
  }
}

void Bpe::set_raw_tables() {
  const auto id_of = [&](const std::string& token) {
    const auto found = vocabulary_.find(token);
    return found == vocabulary_.end() ? -1 : found->second;
  };
  for (int byte = 0; byte < 256; ++byte) {
    id_of_byte_[byte] = id_of(ByteAlphabet::instance().spelling[byte]);
    fallback_id_[byte] = id_of(fmt::format("<0x{:02X}>", byte));
  }
  if (!raw_bytes_ || !ignore_merges_) return;
  for (const auto& [token, id] : vocabulary_) {
    if (const auto bytes = ByteAlphabet::instance().bytes(token))
      raw_vocabulary_.emplace(*bytes, id);
  }
}

void Bpe::encode(std::string_view word, std::vector<int32_t>& ids) const {
  if (word.empty()) return;
  thread_local std::vector<int32_t> symbols;
  if (word.size() > kMaxCachedBytes) {
    encode_uncached(word, symbols);
    ids.insert(ids.end(), symbols.begin(), symbols.end());
    return;
  }
  CacheEntry& entry = cache_entry(cache_owner_, word);
  if (entry.owner != cache_owner_ || entry.word != word) {
    encode_uncached(word, symbols);
    entry.owner = cache_owner_;
    entry.word.assign(word);
    entry.ids.assign(symbols.begin(), symbols.end());
  }
  ids.insert(ids.end(), entry.ids.begin(), entry.ids.end());
}

void Bpe::encode_uncached(std::string_view word, std::vector<int32_t>& symbols) const {
  symbols.clear();
  if (ignore_merges_) {
    const TextMap& whole = raw_bytes_ ? raw_vocabulary_ : vocabulary_;
    if (const auto found = whole.find(word); found != whole.end()) {
      symbols.push_back(found->second);
      return;
    }
  }
  first_symbols(word, symbols);
  if (symbols.size() <= kShortWord) {
    merge_short(symbols);
  } else {
    merge_long(symbols);
  }
}

void Bpe::first_symbols(std::string_view word, std::vector<int32_t>& symbols) const {
  bool fusing = false;
  if (raw_bytes_) {
    for (const char c : word) {
      const auto byte = static_cast<unsigned char>(c);
      if (id_of_byte_[byte] >= 0) {
        symbols.push_back(id_of_byte_[byte]);
        fusing = false;
      } else {
        unknown_symbol(ByteAlphabet::instance().spelling[byte], fusing, symbols);
      }
    }
    return;
  }
  while (!word.empty()) {
    const std::string_view character = word.substr(0, next_code_point(word).bytes);
    word.remove_prefix(character.size());
    if (const auto found = vocabulary_.find(character); found != vocabulary_.end()) {
      symbols.push_back(found->second);
      fusing = false;
    } else {
      unknown_symbol(character, fusing, symbols);
    }
  }
}

// A character that is no token: its bytes' tokens if all are there, else the unknown token, else
// nothing. `fusing` says that the symbol before is an unknown token which fuse_unk lets stand for
// this one too.
void Bpe::unknown_symbol(std::string_view character, bool& fusing,
                         std::vector<int32_t>& symbols) const {
  const auto fallback = [&](char c) { return fallback_id_[static_cast<unsigned char>(c)]; };
  if (byte_fallback_ &&
      std::all_of(character.begin(), character.end(), [&](char c) { return fallback(c) >= 0; })) {
    for (const char c : character) symbols.push_back(fallback(c));
    return;
  }
  if (unk_id_ < 0) return;
  if (!(fuse_unk_ && fusing)) symbols.push_back(unk_id_);
  fusing = true;
}

void Bpe::merge_short(std::vector<int32_t>& symbols) const {
  MergeTable::Merge merges[kShortWord];
  size_t count = symbols.size();
  for (size_t i = 0; i + 1 < count; ++i) merges[i] = merges_.find(symbols[i], symbols[i + 1]);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (merges[i].rank < merges[best].rank) best = i;
    }
    if (merges[best].rank == UINT32_MAX) break;
    symbols[best] = merges[best].id;
    std::copy(symbols.begin() + best + 2, symbols.begin() + count, symbols.begin() + best + 1);
    if (best + 2 < count) std::copy(merges + best + 2, merges + count - 1, merges + best + 1);
    --count;
    if (best > 0) merges[best - 1] = merges_.find(symbols[best - 1], symbols[best]);
    if (best + 1 < count) merges[best] = merges_.find(symbols[best], symbols[best + 1]);
  }
  symbols.resize(count);
}

// The same by a heap over a linked list: O(n log n).
void Bpe::merge_long(std::vector<int32_t>& symbols) const {
  struct Candidate {
    uint32_t rank;
    int32_t position;
    int32_t left, right, merged;
    bool operator>(const Candidate& other) const {
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };
  const auto count = static_cast<int32_t>(symbols.size());
  std::vector<int32_t> next(count);
  std::vector<int32_t> previous(count);
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> heap;
  constexpr int32_t kGone = -1;  // in symbols: merged into the one on its left
  const auto offer = [&](int32_t position) {
    if (position < 0 || next[position] >= count) return;
    const int32_t left = symbols[position];
    const int32_t right = symbols[next[position]];
    const MergeTable::Merge merge = merges_.find(left, right);
    if (merge.rank != UINT32_MAX) heap.push({merge.rank, position, left, right, merge.id});
  };
  for (int32_t i = 0; i < count; ++i) {
    next[i] = i + 1;
    previous[i] = i - 1;
  }
  for (int32_t i = 0; i < count; ++i) offer(i);
  while (!heap.empty()) {
    const Candidate top = heap.top();
    heap.pop();
    const int32_t right = next[top.position];
    if (right >= count || symbols[top.position] != top.left || symbols[right] != top.right)
      continue;
    symbols[top.position] = top.merged;
    symbols[right] = kGone;
    next[top.position] = next[right];
    if (next[right] < count) previous[next[right]] = top.position;
    offer(previous[top.position]);
    offer(top.position);
  }
  std::erase(symbols, kGone);
}

}  // namespace ponder::policy
