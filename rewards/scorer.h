// Several rewards as one score, and threads that score completions while others still sample.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/recipe.h"
#include "rewards/reward.h"

namespace ponder::rewards {

struct RewardOptions {
  std::vector<std::string> reward_funcs = {"accuracy", "format"};
  std::vector<double> reward_weights = {1.0, 1.0};
};
void bind(core::Binder& b, RewardOptions& options);

// The weighted sum of the rewards. Its status is that of the first reward that is not ok; a reward without a value makes
// the whole score null.
class Scorer {
 public:
  // Throws UserError: unknown reward, numbers of rewards and weights that differ, no reward, a weight that is not finite.
  explicit Scorer(const RewardOptions& options);

  // Thread-safe. A reward's exception is a score with status crashed, never an exception of ours.
  data::Score score(const data::Prompt& prompt, const data::Completion& completion) const;

 private:
  struct Part {
    std::string name;
    double weight;
    std::unique_ptr<Reward> reward;
  };
  std::vector<Part> parts_;
};

// Scores the completions of one rollout in background threads. scores()[i][j] belongs to sample j of prompt i, whatever
// the order in which they were submitted or finished.
class ScoringPool {
 public:
  // REQUIRES: scorer outlives the pool.
  ScoringPool(const Scorer& scorer, int num_threads);
  ~ScoringPool();

  // Makes room for `prompts` x `samples` scores. REQUIRES: nothing is under way.
  void start(size_t prompts, size_t samples);
  // Copies prompt and completion; returns at once.
  void submit(size_t prompt_index, size_t sample_index, const data::Prompt& prompt, const data::Completion& completion);
  // Waits for all that was submitted and gives their scores. Throws InternalError if one was never submitted.
  std::vector<std::vector<data::Score>> finish();

 private:
  struct Job {
    size_t prompt_index, sample_index;
    data::Prompt prompt;
    data::Completion completion;
  };
  void work();

  const Scorer& scorer_;
  std::mutex mutex_;
  std::condition_variable work_ready_, all_done_;
  std::deque<Job> jobs_;                                           // guarded by mutex_
  std::vector<std::vector<std::optional<data::Score>>> scores_;    // guarded by mutex_
  size_t under_way_ = 0;                                           // guarded by mutex_
  bool closing_ = false;                                           // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace ponder::rewards
