#include "rewards/plugins/pool.h"

#include <algorithm>
#include <chrono>

#include "core/error.h"

namespace ponder::rewards {

std::string record_of(const data::Prompt& prompt, const data::Completion& completion) {
  data::Json record = prompt.columns.is_object() ? prompt.columns : data::Json::object();
  if (!record.contains("prompt"))
    record["prompt"] = prompt.text;  // a conversation stands in the columns as it came
  record["completion"] = completion.text;
  record["answer"] = prompt.answer;
  record["finish_reason"] = data::name_of(completion.finish_reason);
  if (!completion.token_ids.empty()) record["token_ids"] = completion.token_ids;
  record.erase("index");
  return record.dump(-1, ' ', false, data::Json::error_handler_t::replace);
}

PluginReward::PluginReward(std::string name, WorkerCommand command, Protocol protocol,
                           const PluginOptions& options)
    : name_(std::move(name)), command_(std::move(command)), protocol_(protocol), options_(options) {
  for (int64_t i = 0; i < options.workers; ++i) threads_.emplace_back([this] { serve(); });
  std::unique_lock lock(mutex_);
  some_done_.wait(lock, [this] { return first_start_.has_value(); });
  if (first_start_->empty()) return;
  const std::string problem = *first_start_;
  closing_ = true;
  lock.unlock();
  work_ready_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  core::throw_user("the reward {} does not load: {}", name_, problem);
}

PluginReward::~PluginReward() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  work_ready_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

Judgement PluginReward::judge(const data::Prompt& prompt,
                              const data::Completion& completion) const {
  const Sample sample{&prompt, &completion};
  return judge_all({&sample, 1})[0];
}

std::vector<Judgement> PluginReward::judge_all(std::span<const Sample> samples) const {
  std::vector<std::string> records;
  for (const Sample& sample : samples)
    records.push_back(record_of(*sample.prompt, *sample.completion));
  std::vector<Judgement> out(samples.size());
  size_t open = samples.size();
  std::unique_lock lock(mutex_);
  for (size_t i = 0; i < samples.size(); ++i) jobs_.push_back({&records[i], &out[i], &open});
  work_ready_.notify_all();
  some_done_.wait(lock, [&] { return open == 0; });
  return out;
}

std::map<std::string, double> PluginReward::metrics() const {
  const std::lock_guard lock(mutex_);
  return metrics_;
}

// Each process is made, used and ended by this one thread (child.h).
void PluginReward::serve() {
  Worker worker(command_, protocol_, options_);
  std::unique_lock lock(mutex_);
  if (!trial_begun_) {
    trial_begun_ = true;
    lock.unlock();
    const std::string problem = worker.start();
    lock.lock();
    first_start_ = problem;
    some_done_.notify_all();
  }
  for (;;) {
    work_ready_.wait(lock, [this] { return closing_ || !jobs_.empty(); });
    if (closing_) return;
    const size_t share = (jobs_.size() + threads_.size() - 1) / threads_.size();
    std::vector<Job> batch;
    while (!jobs_.empty() && batch.size() < std::min(share, worker.batch_limit())) {
      batch.push_back(jobs_.front());
      jobs_.pop_front();
    }
    lock.unlock();
    serve_batch(worker, batch);
    lock.lock();
    for (const Job& job : batch) --*job.open;
    some_done_.notify_all();
  }
}

void PluginReward::serve_batch(Worker& worker, const std::vector<Job>& jobs) {
  std::vector<const std::string*> records;
  for (const Job& job : jobs) records.push_back(job.record);
  const Attempt together = counted(worker, records);
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (together.failure.empty()) {
      *jobs[i].out = together.judgements[i];
      continue;
    }
    const Attempt alone = counted(worker, {&records[i], 1});
    *jobs[i].out = alone.failure.empty() ? alone.judgements[0]
                                         : Judgement{std::nullopt, alone.status, alone.failure};
  }
  const std::lock_guard lock(mutex_);
  for (const Job& job : jobs) {
    metrics_["timeouts"] += job.out->status == data::ScoreStatus::kTimeout ? 1 : 0;
    metrics_["crashes"] += job.out->status == data::ScoreStatus::kCrashed ? 1 : 0;
  }
}

Attempt PluginReward::counted(Worker& worker, std::span<const std::string* const> records) {
  const auto begin = std::chrono::steady_clock::now();
  const int64_t starts = worker.starts();
  Attempt attempt = worker.judge(records);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  const std::lock_guard lock(mutex_);
  ++metrics_["calls"];
  metrics_["failed_calls"] += attempt.failure.empty() ? 0 : 1;
  metrics_["restarts"] += starts > 0 ? static_cast<double>(worker.starts() - starts) : 0;
  metrics_["seconds"] += took.count();
  return attempt;
}

}  // namespace ponder::rewards
