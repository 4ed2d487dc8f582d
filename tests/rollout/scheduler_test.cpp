#include "rollout/scheduler.h"

#include <map>
#include <set>

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/random.h"

namespace ponder::rollout {
namespace {

TEST(BlockPool, IsFreeAgainWhenTheLastOwnerLetsGo) {
  BlockPool pool(2);
  const int32_t block = pool.take();
  pool.share(block);
  pool.release(block);
  EXPECT_EQ(pool.num_free(), 1);
  pool.release(block);
  EXPECT_EQ(pool.num_free(), 2);
  EXPECT_THROW(pool.release(block), core::InternalError);
  pool.take();
  pool.take();
  EXPECT_THROW(pool.take(), core::InternalError);
}

// Plays random ends against tight limits and watches what must hold: every sample runs once, no
// block that is written has two writers, prompts are announced once and before their samples.
TEST(Scheduler, EverySampleRunsOnceAndWritesItsOwnBlocks) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    core::Rng rng(seed, 1);
    std::vector<int64_t> lengths;
    for (int i = 0; i < 7; ++i) lengths.push_back(rng.integer(1, 11));
    const int64_t num_blocks = rng.integer(6, 40);
    Scheduler scheduler({.max_running = rng.integer(1, 9),
                         .num_blocks = num_blocks,
                         .block_size = 4,
                         .prefill_tokens_max = 12},
                        lengths, 3, 8, 16);
    std::set<std::pair<size_t, size_t>> seen;
    std::set<size_t> prefilled;
    for (int guard = 0; !scheduler.done(); ++guard) {
      ASSERT_LT(guard, 2000) << "no progress, seed " << seed;
      const Scheduler::Admission admission = scheduler.admit();
      std::set<int32_t> written;  // blocks that this pass writes
      for (const auto& prefill : admission.prefills) {
        EXPECT_TRUE(prefilled.insert(prefill.prompt).second);
        for (const int32_t block : prefill.blocks)
          EXPECT_TRUE(written.insert(block).second) << "seed " << seed;
      }
      for (const BlockCopy& copy : admission.copies)
        EXPECT_TRUE(written.insert(copy.to).second) << "seed " << seed;
      auto& running = scheduler.running();
      for (size_t i = running.size() - admission.num_new; i < running.size(); ++i) {
        EXPECT_TRUE(seen.insert({running[i].prompt, running[i].sample}).second);
        EXPECT_TRUE(prefilled.contains(running[i].prompt));
      }
      std::map<int32_t, int> writers;
      for (const Sequence& s : running) {
        EXPECT_LE(s.length_max, static_cast<int64_t>(s.blocks.size()) * 4);
        for (size_t b = lengths[s.prompt] / 4; b < s.blocks.size(); ++b)
          EXPECT_EQ(++writers[s.blocks[b]], 1);
      }
      for (size_t i = running.size(); i-- > 0;) {
        if (++running[i].length + 1 >= running[i].length_max || rng.chance(0.3))
          scheduler.finish(i);
      }
    }
    EXPECT_EQ(seen.size(), 7u * 3u);
  }
}

}  // namespace
}  // namespace ponder::rollout
