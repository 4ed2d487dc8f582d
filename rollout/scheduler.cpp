#include "rollout/scheduler.h"

#include <algorithm>

namespace ponder::rollout {

Scheduler::Scheduler(const Limits& limits, std::vector<int64_t> prompt_lengths, size_t samples,
                     int64_t completion_max, int64_t context_max)
    : limits_(limits),
      prompt_lengths_(std::move(prompt_lengths)),
      samples_(samples),
      completion_max_(std::min(completion_max, context_max)),
      context_max_(context_max),
      pool_(limits.num_blocks) {}

Scheduler::Admission Scheduler::admit() {
  for (const int32_t block : retired_) pool_.release(block);
  retired_.clear();
  Admission admission;
  int64_t prefill_tokens = 0;
  while (next_prompt_ < prompt_lengths_.size()) {
    if (prompt_blocks_.empty() && !start_prompt(admission, prefill_tokens)) break;
    if (!start_sample(admission)) break;
    if (next_sample_ == samples_) end_prompt();
  }
  return admission;
}

// A prompt starts only together with its first sample: both must fit.
bool Scheduler::start_prompt(Admission& admission, int64_t& prefill_tokens) {
  const int64_t length = prompt_lengths_[next_prompt_];
  const bool room = prefill_tokens == 0 || prefill_tokens + length <= limits_.prefill_tokens_max;
  const int64_t total = std::min(length + completion_max_, context_max_);
  const int64_t needed = blocks_for(total) + 1;
  if (!room || static_cast<int64_t>(running_.size()) >= limits_.max_running ||
      pool_.num_free() < needed)
    return false;
  for (int64_t i = 0; i < blocks_for(length); ++i) prompt_blocks_.push_back(pool_.take());
  admission.prefills.push_back({next_prompt_, prompt_blocks_});
  prefill_tokens += length;
  return true;
}

bool Scheduler::start_sample(Admission& admission) {
  const int64_t length = prompt_lengths_[next_prompt_];
  const int64_t full = length / limits_.block_size;
  Sequence sequence{.prompt = next_prompt_, .sample = next_sample_, .length = length};
  sequence.length_max = std::min(length + completion_max_, context_max_);
  const int64_t own = blocks_for(sequence.length_max) - full;
  if (static_cast<int64_t>(running_.size()) >= limits_.max_running || pool_.num_free() < own)
    return false;
  for (int64_t i = 0; i < full; ++i) {
    pool_.share(prompt_blocks_[i]);
    sequence.blocks.push_back(prompt_blocks_[i]);
  }
  for (int64_t i = 0; i < own; ++i) sequence.blocks.push_back(pool_.take());
  if (length % limits_.block_size != 0)
    admission.copies.push_back({prompt_blocks_[full], sequence.blocks[full]});
  running_.push_back(std::move(sequence));
  ++next_sample_;
  ++admission.num_new;
  return true;
}

void Scheduler::end_prompt() {
  retired_.insert(retired_.end(), prompt_blocks_.begin(), prompt_blocks_.end());
  prompt_blocks_.clear();
  next_sample_ = 0;
  ++next_prompt_;
}

void Scheduler::finish(size_t index) {
  for (const int32_t block : running_[index].blocks) pool_.release(block);
  running_.erase(running_.begin() + static_cast<int64_t>(index));
}

}  // namespace ponder::rollout
