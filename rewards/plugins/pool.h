// A plugin as a reward: records in, judgements out, by a pool of worker processes. Each process
// belongs to one thread of the pool, which hands it what waits in the queue as one batch. A batch
// that fails (exception, crash, time-out, garbage) is tried again record by record, so that only
// the guilty completion is counted as failed; the process is replaced.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "rewards/options.h"
#include "rewards/plugins/worker.h"

namespace ponder::rewards {

// The record that plugins are given, as JSON text. Bytes that are no UTF-8 are replaced by U+FFFD.
std::string record_of(const data::Prompt& prompt, const data::Completion& completion);

class PluginReward : public Reward {
 public:
  // Throws UserError when a first worker does not get ready: wrong file, missing function, another
  // ABI version.
  PluginReward(std::string name, WorkerCommand command, Protocol protocol,
               const PluginOptions& options);
  ~PluginReward() override;

  Judgement judge(const data::Prompt& prompt, const data::Completion& completion) const override;
  std::vector<Judgement> judge_all(std::span<const Sample> samples) const override;
  // calls, failed_calls, restarts, timeouts, crashes, seconds (of all calls together).
  std::map<std::string, double> metrics() const override;

 private:
  struct Job {
    const std::string* record;
    Judgement* out;
    size_t* open;  // how many of the caller's jobs are not done; guarded by mutex_
  };
  void serve();
  void serve_batch(Worker& worker, const std::vector<Job>& jobs);
  Attempt counted(Worker& worker, std::span<const std::string* const> records);

  std::string name_;
  WorkerCommand command_;
  Protocol protocol_;
  PluginOptions options_;
  mutable std::mutex mutex_;
  mutable std::condition_variable work_ready_, some_done_;
  mutable std::deque<Job> jobs_;           // guarded by mutex_
  std::map<std::string, double> metrics_;  // guarded by mutex_
  std::optional<std::string>
      first_start_;           // guarded by mutex_: "" or why the first worker is not ready
  bool trial_begun_ = false;  // guarded by mutex_
  bool closing_ = false;      // guarded by mutex_
  std::vector<std::thread> threads_;
};

// The plugin that `spec` names. Throws UserError. See reward.h's make_reward for the forms; the
// interpreter is "python3" or what PONDER_PYTHON names.
std::unique_ptr<Reward> make_plugin(const RewardSpec& spec);
// Whether a reward's name means a plugin.
bool names_plugin(const std::string& name);

}  // namespace ponder::rewards
