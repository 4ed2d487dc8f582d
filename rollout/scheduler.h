// Which sequences run, and where their tokens lie in the paged cache. Bookkeeping on integers, no
// tensors.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "rollout/blocks.h"

namespace ponder::rollout {

// One completion under way.
struct Sequence {
  size_t prompt = 0;       // index of its prompt
  size_t sample = 0;       // index within its group
  int64_t length = 0;      // tokens in the cache, prompt included
  int64_t length_max = 0;  // prompt and completion at most
  std::vector<int32_t>
      blocks;  // all that it can ever need: reserved at the start, so that it never has to stop
  int32_t last_token = 0;  // sampled, not yet in the cache
};

// Copies of cache blocks that must be made before the next forward pass.
struct BlockCopy {
  int32_t from;
  int32_t to;
};

// Starts the samples of the prompts in order, as slots and blocks allow. A prompt is announced once
// (to_prefill); its full blocks are shared by its samples, its last, partly filled block is copied
// for each.
class Scheduler {
 public:
  struct Limits {
    int64_t max_running;
    int64_t num_blocks;
    int64_t block_size;
    int64_t prefill_tokens_max;
  };
  // prompt_lengths [prompts], each at least 1; `samples` of each; completions of at most
  // `completion_max` tokens, the whole within `context_max`.
  Scheduler(const Limits& limits, std::vector<int64_t> prompt_lengths, size_t samples,
            int64_t completion_max, int64_t context_max);

  // A prompt whose cache must be filled now, with its blocks.
  struct Prefill {
    size_t prompt;
    std::vector<int32_t> blocks;
  };
  // Starts what can start. Prompts in `prefills` are run first; then `copies` are made; then the
  // new sequences, which are the last of running(), sample their first token from their prompt's
  // last logits.
  struct Admission {
    std::vector<Prefill> prefills;
    std::vector<BlockCopy> copies;
    size_t num_new = 0;
  };
  Admission admit();

  std::vector<Sequence>& running() { return running_; }
  // Removes running()[index] (the others keep their order) and frees its blocks.
  void finish(size_t index);
  // The first prompt of which a sample has not started yet; the number of prompts where all have.
  size_t next_prompt() const { return next_prompt_; }
  bool done() const { return running_.empty() && next_prompt_ == prompt_lengths_.size(); }

 private:
  int64_t blocks_for(int64_t tokens) const {
    return (tokens + limits_.block_size - 1) / limits_.block_size;
  }
  bool start_prompt(Admission& admission, int64_t& prefill_tokens);
  bool start_sample(Admission& admission);
  void end_prompt();

  Limits limits_;
  std::vector<int64_t> prompt_lengths_;
  size_t samples_;
  int64_t completion_max_, context_max_;
  BlockPool pool_;
  std::vector<Sequence> running_;
  size_t next_prompt_ = 0;              // whose samples are being started
  size_t next_sample_ = 0;              // of next_prompt_
  std::vector<int32_t> prompt_blocks_;  // of next_prompt_, held until its last sample has started
  std::vector<int32_t>
      retired_;  // of prompts whose samples have all started: free once the copies are made
};

}  // namespace ponder::rollout
