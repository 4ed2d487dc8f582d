// Who owns which block of the paged cache: numbers only, no tensors. Blocks are shared by reference
// (a prompt's by its whole group) and free again when their last owner lets go.
#pragma once

#include <cstdint>
#include <vector>

namespace ponder::rollout {

class BlockPool {
 public:
  explicit BlockPool(int64_t num_blocks);

  int64_t num_free() const { return static_cast<int64_t>(free_.size()); }
  // A free block with one owner. REQUIRES: num_free() > 0.
  int32_t take();
  // One more owner.
  void share(int32_t block);
  int32_t owners(int32_t block) const { return owners_.at(block); }
  // One owner less.
  void release(int32_t block);

 private:
  std::vector<int32_t> owners_;  // [blocks]
  std::vector<int32_t> free_;    // taken from the back
};

}  // namespace ponder::rollout
