#include "rollout/scheduler.h"

#include <array>
#include <map>
#include <set>
#include <tuple>

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/random.h"

namespace ponder::rollout {
namespace {

TEST(BlockPool, IsFreeAgainWhenTheLastOwnerLetsGo) {
  BlockPool pool(2);
  const int32_t block = pool.take();
  pool.share(block);
  EXPECT_EQ(pool.owners(block), 2);
  pool.release(block);
  EXPECT_EQ(pool.num_free(), 1);
  pool.release(block);
  EXPECT_EQ(pool.num_free(), 2);
  EXPECT_THROW(pool.release(block), core::InternalError);
  pool.take();
  pool.take();
  EXPECT_THROW(pool.take(), core::InternalError);
}

// What a cache slot holds: the token of (request, sample, position); sample -1 in the prompt.
using Content = std::tuple<int64_t, int64_t, int64_t>;

// A cache that remembers what was written where, driven by a scheduler as an engine drives it.
class World {
 public:
  World(const Scheduler::Limits& limits, core::Rng& rng)
      : limits_(limits), scheduler_(limits), rng_(rng) {
    cache_.resize(limits.num_blocks * limits.block_size);
  }

  Scheduler& scheduler() { return scheduler_; }

  // lengths: of each sample at its end.
  void add(int64_t prompt, const std::vector<int64_t>& known, const std::vector<int64_t>& lengths) {
    prompts_[++last_] = prompt;
    ends_[last_] = lengths;
    scheduler_.add(last_, prompt, known);
    num_open_ += lengths.size();
  }

  void step() {
    for (Sequence* sequence : scheduler_.decoding()) sequence->num_guessed = rng_.integer(0, 3);
    const Scheduler::Pass pass = scheduler_.next_pass();
    std::map<const Sequence*, int64_t> right;  // guesses
    for (const BlockCopy& copy : pass.copies) {
      for (int64_t i = 0; i < limits_.block_size; ++i)
        cache_[copy.to * limits_.block_size + i] = cache_[copy.from * limits_.block_size + i];
    }
    int64_t prefill = 0;
    for (const Scheduler::Chunk& chunk : pass.chunks) {
      const Sequence& s = *chunk.sequence;
      EXPECT_EQ(chunk.begin, s.num_cached);
      EXPECT_LE(chunk.begin + chunk.count - chunk.guessed, s.num_tokens);
      const bool decoding = s.num_tokens - s.num_cached == 1;
      prefill += decoding ? 0 : chunk.count;
      computed_ += chunk.count - chunk.guessed;
      const int64_t known = chunk.begin + chunk.count - chunk.guessed;
      right[&s] = rng_.integer(0, chunk.guessed);
      for (int64_t p = chunk.begin; p < chunk.begin + chunk.count; ++p)
        cache_[slot(s, p)] = p < known + right[&s] ? at(s, p) : Content{-9, -9, -9};
    }
    EXPECT_LE(prefill, limits_.prefill_tokens_max);
    EXPECT_LE(scheduler_.num_running(), limits_.max_running);
    // After the writes, whatever chunk sees its past whole.
    for (const Scheduler::Chunk& chunk : pass.chunks)
      expect_past(*chunk.sequence, chunk.begin + chunk.count - chunk.guessed);
    const std::vector<Scheduler::Ready> ready = scheduler_.complete(pass);
    for (const auto& [sequence, chunk] : ready)
      EXPECT_EQ(pass.chunks[chunk].sequence->request, sequence->request);
    for (const auto& [sequence, chunk] : ready) {
      EXPECT_EQ(sequence->num_cached, sequence->num_tokens);
      expect_past(*sequence, sequence->num_cached);
      draw(sequence, right.contains(sequence) ? right[sequence] : 0);
    }
  }

  void remove(int64_t request) {
    for (size_t i = 0; i < ends_[request].size(); ++i)
      num_open_ -= ended_.contains({request, i}) ? 0 : 1;
    scheduler_.remove(request);
  }

  size_t num_open() const { return num_open_; }
  size_t num_ended() const { return ended_.size(); }
  int64_t computed() const { return computed_; }

 private:
  // One token, and one more for each right guess.
  void draw(Sequence* sequence, int64_t right) {
    for (int64_t i = 0; i <= right; ++i) {
      if (sequence->num_tokens + 1 >= ends_[sequence->request][sequence->sample]) {
        EXPECT_TRUE(ended_.insert({sequence->request, sequence->sample}).second);
        scheduler_.finish(sequence);
        --num_open_;
        return;
      }
      Scheduler::append(*sequence);
      if (i < right) Scheduler::guessed_right(*sequence);
    }
  }
  int64_t slot(const Sequence& s, int64_t p) const {
    return s.blocks.at(p / limits_.block_size) * limits_.block_size + p % limits_.block_size;
  }
  Content at(const Sequence& s, int64_t p) {
    return {s.request, p < prompts_[s.request] ? -1 : static_cast<int64_t>(s.sample), p};
  }
  void expect_past(const Sequence& s, int64_t length) {
    for (int64_t p = 0; p < length; ++p) ASSERT_EQ(cache_[slot(s, p)], at(s, p));
  }

  Scheduler::Limits limits_;
  Scheduler scheduler_;
  core::Rng& rng_;
  std::vector<Content> cache_;
  std::map<int64_t, int64_t> prompts_;
  std::map<int64_t, std::vector<int64_t>> ends_;
  std::set<std::pair<int64_t, size_t>> ended_;
  int64_t last_ = 0, computed_ = 0;
  size_t num_open_ = 0;
};

// Random requests under random, mostly tight limits: every sample ends once, each with its own past
// in the cache at every step, and all blocks are free at the end.
TEST(Scheduler, EverySampleEndsWithItsOwnPast) {
  int64_t preemptions = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    core::Rng rng(seed, 1);
    const Scheduler::Limits limits{.max_running = rng.integer(1, 9),
                                   .num_blocks = rng.integer(8, 40),
                                   .block_size = 4,
                                   .prefill_tokens_max = rng.integer(1, 12)};
    World world(limits, rng);
    size_t samples = 0;
    for (int guard = 0; guard < 6 || world.num_open() > 0; ++guard) {
      ASSERT_LT(guard, 5000) << "no progress";
      if (guard < 6) {
        const int64_t prompt = rng.integer(1, 11);
        std::vector<int64_t> known, ends;
        for (int64_t i = rng.integer(1, 4); i > 0; --i) {
          known.push_back(prompt + (rng.chance(0.3) ? rng.integer(0, 9) : 0));
          ends.push_back(known.back() + rng.integer(1, 8));
        }
        samples += ends.size();
        world.add(prompt, known, ends);
      }
      world.step();
    }
    EXPECT_EQ(world.num_ended(), samples);
    EXPECT_TRUE(world.scheduler().idle());
    EXPECT_EQ(world.scheduler().num_free_blocks(), limits.num_blocks);
    preemptions += world.scheduler().num_preemptions();
  }
  EXPECT_GT(preemptions, 30);
}

TEST(Scheduler, RemovingARequestFreesItsBlocksAndLetsOthersGoOn) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(seed);
    core::Rng rng(seed, 2);
    const Scheduler::Limits limits{
        .max_running = 5, .num_blocks = 16, .block_size = 4, .prefill_tokens_max = 6};
    World world(limits, rng);
    for (int i = 0; i < 5; ++i) world.add(9, {9, 9, 9}, {14, 20, 17});
    for (int64_t i = rng.integer(0, 12); i > 0; --i) world.step();
    world.remove(rng.integer(1, 5));
    world.remove(99);  // none such: nothing happens
    for (int guard = 0; world.num_open() > 0; ++guard) {
      ASSERT_LT(guard, 1000);
      world.step();
    }
    EXPECT_TRUE(world.scheduler().idle());
    EXPECT_EQ(world.scheduler().num_free_blocks(), limits.num_blocks);
  }
}

// With room for all, a prompt is computed once for its group and nothing twice.
TEST(Scheduler, APromptIsComputedOnceForItsGroup) {
  core::Rng rng(1, 3);
  World world({.max_running = 64, .num_blocks = 500, .block_size = 4, .prefill_tokens_max = 16},
              rng);
  for (int i = 0; i < 3; ++i) world.add(10, {10, 10, 10, 10}, {20, 20, 20, 20});
  while (world.num_open() > 0) world.step();
  // The prompt's ten tokens once; of each sample all but its last token, guesses not counted.
  EXPECT_LE(world.computed(), 3 * (10 + 4 * 9));
  EXPECT_GE(world.computed(), 3 * 10);
}

}  // namespace
}  // namespace ponder::rollout
