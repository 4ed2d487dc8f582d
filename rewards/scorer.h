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
#include "rewards/failures.h"
#include "rewards/reward.h"

namespace ponder::rewards {

struct RewardOptions {
  std::vector<std::string> reward_funcs = {"accuracy", "format"};
  std::vector<double> reward_weights = {1.0, 1.0};
  std::vector<std::string> reward_gates = {};
  double max_failure_share = 0.1;
  // The built-in rewards judge a completion that was cut as if it had ended; without it a cut one
  // has no answer.
  bool judge_truncated = false;
};
void bind(core::Binder& b, RewardOptions& options);

// A score and what each reward said, by part name; rewards that the prompt does not ask for are
// absent.
struct Verdict {
  data::Score score;
  std::map<std::string, Judgement> judgements;
};

// The weighted sum of the rewards that the prompt asks for (`rewards`; all where it names none).
// Its status is that of the first of them that is not ok. A reward without a value makes the whole
// score null, one that abstains is left out, and one behind a gate counts 0 unless the gate's
// status is ok (its own value still stands in `parts`).
class Scorer {
 public:
  // Throws UserError: unknown reward, numbers of rewards and weights that differ, no reward, a
  // weight that is not finite, a gate that is not "REWARD if REWARD".
  explicit Scorer(const RewardOptions& options, const LoadRewardModel& load_model = {});

  // Thread-safe. A reward's exception is a score with status crashed, never an exception of ours.
  data::Score score(const data::Prompt& prompt, const data::Completion& completion) const;
  // out[i] belongs to samples[i]; rewards that gain from batches get one.
  std::vector<Verdict> judge_all(std::span<const Sample> samples) const;

  // Throws UserError that counts and names prompts whose references no reward can use, or that ask
  // for a reward that is not there. To be called with the whole dataset before training. places[i]
  // says where prompts[i] stands ("F.jsonl:12") for the message; fewer or none: its id does.
  void check(const std::vector<data::Prompt>& prompts,
             const std::vector<std::string>& places = {}) const;
  // Counters of the rewards, "rewards/NAME/restarts" and the like.
  std::map<std::string, double> metrics() const;
  double max_failure_share() const { return max_failure_share_; }

 private:
  struct Part {
    std::string name;
    double weight;
    std::unique_ptr<Reward> reward;
    std::string gate;  // a part's name, or ""
    bool plugin = false;
  };
  bool applies(const Part& part, const data::Prompt& prompt) const;
  void add_gate(const std::string& gate);
  Part& part(const std::string& name, const std::string& what);
  std::string problem_with(const data::Prompt& prompt) const;
  data::Score total(const data::Prompt& prompt,
                    const std::map<std::string, Judgement>& judgements) const;

  std::vector<Part> parts_;
  double max_failure_share_;
  bool judge_truncated_;
};

// Scores the completions of one rollout in background threads. scores()[i][j] belongs to sample j
// of prompt i, whatever the order in which they were submitted or finished.
class ScoringPool {
 public:
  // REQUIRES: scorer outlives the pool.
  ScoringPool(const Scorer& scorer, int num_threads);
  ~ScoringPool();

  // Makes room for `prompts` x `samples` scores. REQUIRES: nothing is under way.
  void start(size_t prompts, size_t samples);
  // Copies prompt and completion; returns at once.
  void submit(size_t prompt_index, size_t sample_index, const data::Prompt& prompt,
              const data::Completion& completion);
  // Waits for all that was submitted and gives their scores; empty ones for a prompt of which nothing
  // was. Throws InternalError where a prompt's samples were submitted in part, RunError when the
  // share of failures passes the scorer's limit (failures.h).
  std::vector<std::vector<data::Score>> finish();

 private:
  struct Job {
    size_t prompt_index, sample_index;
    data::Prompt prompt;
    data::Completion completion;
  };
  void work();
  std::vector<Job> take_share();

  const Scorer& scorer_;
  std::mutex mutex_;
  std::condition_variable work_ready_, all_done_;
  std::deque<Job> jobs_;                                         // guarded by mutex_
  std::vector<std::vector<std::optional<data::Score>>> scores_;  // guarded by mutex_
  size_t under_way_ = 0;                                         // guarded by mutex_
  bool closing_ = false;                                         // guarded by mutex_
  FailureGuard failures_;
  std::vector<std::thread> threads_;
};

}  // namespace ponder::rewards
