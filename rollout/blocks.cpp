#include "rollout/blocks.h"

#include "core/error.h"

namespace ponder::rollout {

BlockPool::BlockPool(int64_t num_blocks) : owners_(num_blocks, 0) {
  for (int64_t block = num_blocks - 1; block >= 0; --block)
    free_.push_back(static_cast<int32_t>(block));
}

int32_t BlockPool::take() {
  PONDER_CHECK(!free_.empty(), "[BlockPool] no free block of {}", owners_.size());
  const int32_t block = free_.back();
  free_.pop_back();
  owners_[block] = 1;
  return block;
}

void BlockPool::share(int32_t block) {
  PONDER_CHECK(owners_.at(block) > 0, "[BlockPool] block {} has no owner to share with", block);
  ++owners_[block];
}

void BlockPool::release(int32_t block) {
  PONDER_CHECK(owners_.at(block) > 0, "[BlockPool] block {} is free already", block);
  if (--owners_[block] == 0) free_.push_back(block);
}

}  // namespace ponder::rollout
