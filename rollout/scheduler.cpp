#include "rollout/scheduler.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace ponder::rollout {

Scheduler::Scheduler(const Limits& limits) : limits_(limits), pool_(limits.num_blocks) {}

void Scheduler::add(int64_t request, int64_t prompt_tokens, std::vector<int64_t> sample_tokens) {
  PONDER_CHECK(groups_.empty() || groups_.rbegin()->first < request,
               "[Scheduler] request {} after request {}", request, groups_.rbegin()->first);
  for (const int64_t tokens : sample_tokens) {
    PONDER_CHECK(prompt_tokens >= 1 && tokens >= prompt_tokens,
                 "[Scheduler] a sample of {} tokens of a prompt of {}", tokens, prompt_tokens);
    PONDER_CHECK(blocks_for_alone(tokens) <= limits_.num_blocks,
                 "[Scheduler] {} tokens do not fit into {} blocks", tokens, limits_.num_blocks);
  }
  const size_t samples = sample_tokens.size();
  if (samples == 0) return;
  groups_[request] = {.prompt_tokens = prompt_tokens,
                      .sample_tokens = std::move(sample_tokens),
                      .num_unfinished = samples};
}

void Scheduler::remove(int64_t request) {
  const auto group = groups_.find(request);
  if (group == groups_.end()) return;
  const auto drop = [&](Owned& sequence) {
    if (sequence->request != request) return false;
    release(sequence->blocks);
    return true;
  };
  std::erase_if(running_, drop);
  std::erase_if(stepped_back_, drop);
  release(group->second.held);
  groups_.erase(group);
}

Scheduler::Pass Scheduler::next_pass() {
  Pass pass;
  int64_t budget = limits_.prefill_tokens_max;
  const int64_t before = num_preemptions_;
  run_running(pass, budget);
  if (num_preemptions_ == before) admit(pass, budget);
  PONDER_CHECK(idle() || !pass.chunks.empty(),
               "[Scheduler] {} waiting and {} running, none of "
               "which can go on with {} free blocks of {}",
               num_waiting(), num_running(), pool_.num_free(), limits_.num_blocks);
  return pass;
}

// The oldest first: where blocks run out, those behind step back.
void Scheduler::run_running(Pass& pass, int64_t& budget) {
  for (size_t i = 0; i < running_.size();) {
    Sequence& sequence = *running_[i];
    const int64_t wanted = sequence.num_tokens - sequence.num_cached;
    const int64_t count = wanted == 1 ? 1 : std::min(wanted, budget);
    const int64_t guessed = wanted == 1 ? std::exchange(sequence.num_guessed, 0) : 0;
    if (count == 0) {
      ++i;
    } else if (guessed > 0 && blocks_needed(sequence, 1 + guessed) <= pool_.num_free() &&
               make_room(sequence, 1 + guessed, pass)) {
      pass.chunks.push_back({&sequence, sequence.num_cached, 1 + guessed, guessed});
      ++i;
    } else if (make_room(sequence, count, pass)) {
      pass.chunks.push_back({&sequence, sequence.num_cached, count});
      if (wanted > 1) budget -= count;
      ++i;
    } else {
      step_back_youngest();
    }
  }
}

void Scheduler::step_back_youngest() {
  Owned sequence = std::move(running_.back());
  running_.pop_back();
  Group& group = groups_.at(sequence->request);
  if (group.leader == sequence.get()) group.leader = nullptr;
  release(sequence->blocks);
  sequence->num_cached = 0;
  sequence->num_guessed = 0;
  ++sequence->times_stepped_back;
  ++group.num_stepped_back;
  ++num_preemptions_;
  stepped_back_.push_front(std::move(sequence));
}

// Starts what waits, first come first served; a sample whose prompt is being computed lets others
// go ahead.
void Scheduler::admit(Pass& pass, int64_t& budget) {
  const auto open = [&] {
    return budget > 0 && static_cast<int64_t>(running_.size()) < limits_.max_running;
  };
  for (size_t i = 0; i < stepped_back_.size() && open();) {
    Group& group = groups_.at(stepped_back_[i]->request);
    if (group.leader != nullptr) {
      ++i;
      continue;
    }
    auto sequence = std::make_unique<Sequence>(*stepped_back_[i]);
    if (!start(std::move(sequence), group, pass, budget)) return;
    --group.num_stepped_back;
    stepped_back_.erase(stepped_back_.begin() + static_cast<int64_t>(i));
    release_unneeded(group);
  }
  for (auto& [request, group] : groups_) {
    while (group.next_sample < group.sample_tokens.size() && group.leader == nullptr && open()) {
      auto sequence = std::make_unique<Sequence>(
          Sequence{.request = request,
                   .sample = group.next_sample,
                   .num_tokens = group.sample_tokens[group.next_sample]});
      if (!start(std::move(sequence), group, pass, budget)) return;
      ++group.next_sample;
      release_unneeded(group);
    }
  }
}

// Starts a sequence from the prompt that its group holds, or as the one that computes it.
bool Scheduler::start(Owned sequence, Group& group, Pass& pass, int64_t& budget) {
  if (!group.held.empty()) share_prompt(*sequence, group, sequence->num_tokens - 1);
  const int64_t count = std::min(sequence->num_tokens - sequence->num_cached, budget);
  // A little stays free, so that the running ones do not step back at once.
  const int64_t reserve = static_cast<int64_t>(running_.size()) / 4;
  const auto fits = [&] { return blocks_needed(*sequence, count) + reserve <= pool_.num_free(); };
  while (!fits() && running_.empty() && drop_held(&group)) {
  }
  if (!fits() || !make_room(*sequence, count, pass)) {
    release(sequence->blocks);
    return false;
  }
  pass.chunks.push_back({sequence.get(), sequence->num_cached, count});
  budget -= count;
  if (group.held.empty()) group.leader = sequence.get();
  running_.push_back(std::move(sequence));
  return true;
}

void Scheduler::share_prompt(Sequence& sequence, const Group& group, int64_t cached_max) {
  for (const int32_t block : group.held) {
    pool_.share(block);
    sequence.blocks.push_back(block);
  }
  sequence.num_cached = std::min(group.prompt_tokens, cached_max);
}

// New blocks for the sequence's next `count` tokens, copies of shared ones included.
int64_t Scheduler::blocks_needed(const Sequence& sequence, int64_t count) const {
  const auto have = static_cast<int64_t>(sequence.blocks.size());
  const int64_t end = blocks_for(sequence.num_cached + count);
  int64_t needed = std::max<int64_t>(0, end - have);
  for (int64_t b = sequence.num_cached / limits_.block_size; b < std::min(have, end); ++b)
    needed += pool_.owners(sequence.blocks[b]) > 1 ? 1 : 0;
  return needed;
}

bool Scheduler::make_room(Sequence& sequence, int64_t count, Pass& pass) {
  while (blocks_needed(sequence, count) > pool_.num_free()) {
    if (!drop_held(nullptr)) return false;
  }
  const int64_t end = blocks_for(sequence.num_cached + count);
  for (int64_t b = sequence.num_cached / limits_.block_size; b < end; ++b) {
    if (b == static_cast<int64_t>(sequence.blocks.size())) {
      sequence.blocks.push_back(pool_.take());
    } else if (pool_.owners(sequence.blocks[b]) > 1) {
      const int32_t own = pool_.take();
      pass.copies.push_back({sequence.blocks[b], own});
      pool_.release(sequence.blocks[b]);
      sequence.blocks[b] = own;
    }
  }
  return true;
}

// Lets the latest held prompt go, to be computed again later. False where there is none.
bool Scheduler::drop_held(const Group* keep) {
  for (auto entry = groups_.rbegin(); entry != groups_.rend(); ++entry) {
    Group& group = entry->second;
    if (group.held.empty() || &group == keep) continue;
    release(group.held);
    return true;
  }
  return false;
}

std::vector<Scheduler::Ready> Scheduler::complete(const Pass& pass) {
  std::vector<Ready> ready;
  for (size_t c = 0; c < pass.chunks.size(); ++c) {
    Sequence& sequence = *pass.chunks[c].sequence;
    sequence.num_cached += pass.chunks[c].count - pass.chunks[c].guessed;
    const bool up_to_date = sequence.num_cached == sequence.num_tokens;
    if (up_to_date) ready.push_back({&sequence, c});
    Group& group = groups_.at(sequence.request);
    if (group.leader != &sequence || sequence.num_cached < group.prompt_tokens) continue;
    group.leader = nullptr;
    if (!group.has_waiting()) continue;
    const int64_t blocks = blocks_for(group.prompt_tokens);
    for (int64_t b = 0; b < blocks; ++b) {
      pool_.share(sequence.blocks[b]);
      group.held.push_back(sequence.blocks[b]);
    }
    if (up_to_date && sequence.num_cached == group.prompt_tokens) fork_samples(sequence, c, ready);
    release_unneeded(group);
  }
  return ready;
}

// The leader's last logits are those of every sample that stands at the prompt's end: they start
// without computing anything.
void Scheduler::fork_samples(const Sequence& leader, size_t chunk, std::vector<Ready>& ready) {
  Group& group = groups_.at(leader.request);
  while (group.next_sample < group.sample_tokens.size() &&
         group.sample_tokens[group.next_sample] == group.prompt_tokens &&
         static_cast<int64_t>(running_.size()) < limits_.max_running &&
         pool_.num_free() > static_cast<int64_t>(running_.size()) / 4) {
    auto sequence = std::make_unique<Sequence>(Sequence{.request = leader.request,
                                                        .sample = group.next_sample++,
                                                        .num_tokens = group.prompt_tokens});
    share_prompt(*sequence, group, group.prompt_tokens);
    ready.push_back({sequence.get(), chunk});
    running_.push_back(std::move(sequence));
  }
}

void Scheduler::finish(const Sequence* sequence) {
  const auto found = std::find_if(running_.begin(), running_.end(),
                                  [&](const Owned& s) { return s.get() == sequence; });
  PONDER_CHECK(found != running_.end(), "[Scheduler] the sequence is not running");
  const auto group = groups_.find(sequence->request);
  release((*found)->blocks);
  running_.erase(found);
  if (--group->second.num_unfinished > 0) return;
  release(group->second.held);
  groups_.erase(group);
}

std::vector<Sequence*> Scheduler::decoding() {
  std::vector<Sequence*> out;
  for (const Owned& sequence : running_) {
    if (sequence->num_tokens - sequence->num_cached == 1) out.push_back(sequence.get());
  }
  return out;
}

int64_t Scheduler::num_waiting() const {
  auto count = static_cast<int64_t>(stepped_back_.size());
  for (const auto& [request, group] : groups_)
    count += static_cast<int64_t>(group.sample_tokens.size() - group.next_sample);
  return count;
}

void Scheduler::release(std::vector<int32_t>& blocks) {
  for (const int32_t block : blocks) pool_.release(block);
  blocks.clear();
}

void Scheduler::release_unneeded(Group& group) {
  if (!group.has_waiting()) release(group.held);
}

}  // namespace ponder::rollout
