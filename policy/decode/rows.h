// The tokens of one pass over a paged cache, as plain numbers: any mix of prompts' chunks and
// single next tokens.
#pragma once

#include <cstdint>
#include <vector>

namespace ponder::policy {

struct CachedRows {
  int64_t block_size = 16;                                // tokens
  std::vector<int32_t> tokens, positions;                 // [rows]
  std::vector<int32_t> sequence;                          // [rows]: index in block_tables
  std::vector<const std::vector<int32_t>*> block_tables;  // one a sequence, of cache blocks
  std::vector<int32_t> first;                             // [sequences]: attention begins there
  std::vector<int32_t> wanted;                            // rows whose hidden states are asked for

  int64_t size() const { return static_cast<int64_t>(tokens.size()); }
  void add_sequence(const std::vector<int32_t>& blocks, int64_t first_position = 0) {
    block_tables.push_back(&blocks);
    first.push_back(static_cast<int32_t>(first_position));
  }
  // A token of the last sequence. Its features go to its own slot; it attends to the sequence's
  // positions from the first to its own.
  void add(int32_t token, int64_t position) {
    tokens.push_back(token);
    positions.push_back(static_cast<int32_t>(position));
    sequence.push_back(static_cast<int32_t>(block_tables.size()) - 1);
  }
};

}  // namespace ponder::policy
