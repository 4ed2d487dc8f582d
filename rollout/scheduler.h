// Which tokens run in the next pass, and where they lie in the paged cache. Bookkeeping on
// integers, no tensors.
//
// A sequence is one completion with its prompt: `num_tokens` are known, `num_cached` of them are in
// the cache; a pass computes some of the others, all but one of them in chunks of a common budget.
// The first sequence of a request runs the prompt; the others then share its blocks. A block with
// several owners is copied before it is written. Where blocks are short, the youngest sequence
// steps back: it gives up its blocks and starts again later from its tokens.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "rollout/blocks.h"

namespace ponder::rollout {

struct Sequence {
  int64_t request = 0;
  size_t sample = 0;
  int64_t num_tokens = 0;
  int64_t num_cached = 0;  // always less than num_tokens between passes
  std::vector<int32_t> blocks = {};
  int64_t times_stepped_back = 0;
  // Tokens guessed behind the known ones, for the next pass alone, where one known token is left to
  // compute: they are computed with it where there is room.
  int64_t num_guessed = 0;
};

// A copy of one cache block.
struct BlockCopy {
  int32_t from;
  int32_t to;
};

class Scheduler {
 public:
  struct Limits {
    int64_t max_running;
    int64_t num_blocks;
    int64_t block_size;
    int64_t prefill_tokens_max;  // tokens a pass, beside one of each sequence that is up to date
  };
  explicit Scheduler(const Limits& limits);

  // Blocks that a sequence of so many tokens needs to run alone: submit() lets no longer one in.
  int64_t blocks_for_alone(int64_t tokens) const { return blocks_for(tokens) + 1; }

  // Queues a request behind the others: ids must rise. sample_tokens: known tokens of each sample,
  // at least `prompt_tokens` >= 1.
  void add(int64_t request, int64_t prompt_tokens, std::vector<int64_t> sample_tokens);
  // Forgets the request's sequences, running or not.
  void remove(int64_t request);

  // Tokens [begin, begin + count) of a sequence, the last `guessed` of them not known but guessed.
  struct Chunk {
    Sequence* sequence;
    int64_t begin;
    int64_t count;
    int64_t guessed = 0;
  };
  // The copies are made first, in order; then the chunks are computed. Pointers are valid until the
  // next call of next_pass(), finish() or remove().
  struct Pass {
    std::vector<BlockCopy> copies;
    std::vector<Chunk> chunks;
  };
  Pass next_pass();

  // A sequence whose next token can be drawn, from the logits of chunk `chunk`'s last token.
  struct Ready {
    Sequence* sequence;
    size_t chunk;
  };
  // The pass has been computed. Samples that need no more than the prompt start here too.
  std::vector<Ready> complete(const Pass& pass);

  // A token has been drawn and the sequence goes on.
  static void append(Sequence& sequence) { ++sequence.num_tokens; }
  // The token that was appended last is the one that was guessed, and so in the cache already.
  static void guessed_right(Sequence& sequence) { ++sequence.num_cached; }
  // Sequences whose next token alone is missing, for guesses to be written in.
  std::vector<Sequence*> decoding();
  // The sequence has ended: its blocks are free.
  void finish(const Sequence* sequence);

  bool idle() const { return groups_.empty(); }
  int64_t num_running() const { return static_cast<int64_t>(running_.size()); }
  int64_t num_waiting() const;
  int64_t num_preemptions() const { return num_preemptions_; }
  int64_t num_free_blocks() const { return pool_.num_free(); }

 private:
  // One request.
  struct Group {
    int64_t prompt_tokens = 0;
    std::vector<int64_t> sample_tokens;
    size_t next_sample = 0;     // has not started
    size_t num_unfinished = 0;  // samples
    int64_t num_stepped_back = 0;
    const Sequence* leader = nullptr;  // computes the prompt now
    std::vector<int32_t> held = {};    // the computed prompt's blocks, for samples to come
    bool has_waiting() const { return next_sample < sample_tokens.size() || num_stepped_back > 0; }
  };
  using Owned = std::unique_ptr<Sequence>;

  int64_t blocks_for(int64_t tokens) const {
    return (tokens + limits_.block_size - 1) / limits_.block_size;
  }
  int64_t blocks_needed(const Sequence& sequence, int64_t count) const;
  bool make_room(Sequence& sequence, int64_t count, Pass& pass);
  bool drop_held(const Group* keep);
  void run_running(Pass& pass, int64_t& budget);
  void step_back_youngest();
  void admit(Pass& pass, int64_t& budget);
  bool start(Owned sequence, Group& group, Pass& pass, int64_t& budget);
  void share_prompt(Sequence& sequence, const Group& group, int64_t cached_max);
  void fork_samples(const Sequence& leader, size_t chunk, std::vector<Ready>& ready);
  void release(std::vector<int32_t>& blocks);
  void release_unneeded(Group& group);

  Limits limits_;
  BlockPool pool_;
  std::map<int64_t, Group> groups_;  // by request: in order of arrival
  std::vector<Owned> running_;       // in order of their start
  std::deque<Owned> stepped_back_;   // the oldest first
  int64_t num_preemptions_ = 0;
};

}  // namespace ponder::rollout
