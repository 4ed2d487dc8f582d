#include <algorithm>
#include <map>
#include <numeric>

#include "core/error.h"
#include "grpo/batch.h"

namespace ponder::grpo {
namespace {

// What the workers run: each its sequences, the prompt of a group once.
class Placement {
 public:
  Placement(const TrainBatch& batch, int64_t workers)
      : batch_(batch), shares_(workers), members_(workers), loads_(workers, 0) {}

  int64_t load(int64_t w) const { return loads_[w]; }
  int64_t least() const { return std::min_element(loads_.begin(), loads_.end()) - loads_.begin(); }
  int64_t most() const { return std::max_element(loads_.begin(), loads_.end()) - loads_.begin(); }
  const std::vector<int32_t>& share(int64_t w) const { return shares_[w]; }

  void add(int64_t w, int32_t i) {
    loads_[w] += cost_of_adding(w, i);
    ++members_[w][batch_.groups[i]];
    shares_[w].push_back(i);
  }

  void remove(int64_t w, int32_t i) {
    loads_[w] -= saved_by_removing(w, i);
    --members_[w].at(batch_.groups[i]);
    std::erase(shares_[w], i);
  }

  int64_t saved_by_removing(int64_t w, int32_t i) const {
    return cost(i, members_[w].at(batch_.groups[i]) > 1);
  }

  int64_t cost_of_adding(int64_t w, int32_t i) const {
    const auto found = members_[w].find(batch_.groups[i]);
    return cost(i, found != members_[w].end() && found->second > 0);
  }

  std::vector<std::vector<int32_t>> take() {
    for (auto& share : shares_) std::sort(share.begin(), share.end());
    return std::move(shares_);
  }

 private:
  int64_t cost(int32_t i, bool prompt_is_there) const {
    const int64_t length = batch_.cu_seqlens[i + 1] - batch_.cu_seqlens[i];
    return prompt_is_there ? length - batch_.prompt_lengths[i] : length;
  }

  const TrainBatch& batch_;
  std::vector<std::vector<int32_t>> shares_;
  std::vector<std::map<int32_t, int64_t>> members_;  // of each group, of each worker
  std::vector<int64_t> loads_;
};

// Moves the sequence from the most to the least loaded worker that leaves the greater of the two
// least loaded; false where none makes it less.
bool move_one(Placement& placement) {
  const int64_t from = placement.most(), to = placement.least();
  int64_t best = placement.load(from);
  int32_t chosen = -1;
  for (const int32_t i : placement.share(from)) {
    const int64_t after = std::max(placement.load(from) - placement.saved_by_removing(from, i),
                                   placement.load(to) + placement.cost_of_adding(to, i));
    if (after < best) {
      best = after;
      chosen = i;
    }
  }
  if (chosen < 0) return false;
  placement.remove(from, chosen);
  placement.add(to, chosen);
  return true;
}

}  // namespace

std::vector<std::vector<int32_t>> balance(const TrainBatch& batch, int64_t workers) {
  PONDER_CHECK(workers > 0, "[balance] expected at least one worker, got {}", workers);
  // Whole groups, the longest first; then single sequences where that evens the loads.
  std::map<int32_t, std::vector<int32_t>> groups;
  for (int32_t i = 0; i < static_cast<int32_t>(batch.num_sequences()); ++i)
    groups[batch.groups[i]].push_back(i);
  std::vector<std::pair<int64_t, int32_t>> order;  // -tokens, group
  for (const auto& [group, members] : groups) {
    int64_t tokens = batch.prompt_lengths[members[0]];
    for (const int32_t i : members)
      tokens += batch.cu_seqlens[i + 1] - batch.cu_seqlens[i] - batch.prompt_lengths[i];
    order.emplace_back(-tokens, group);
  }
  std::sort(order.begin(), order.end());
  Placement placement(batch, workers);
  for (const auto& [tokens, group] : order) {
    const int64_t least = placement.least();
    for (const int32_t i : groups.at(group)) placement.add(least, i);
  }
  for (int64_t moves = 0; moves < batch.num_sequences() && move_one(placement); ++moves) {
  }
  return placement.take();
}

}  // namespace ponder::grpo
