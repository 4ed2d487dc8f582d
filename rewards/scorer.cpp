#include "rewards/scorer.h"

#include <cmath>

#include "core/error.h"

namespace ponder::rewards {

void bind(core::Binder& b, RewardOptions& o) {
  b.field("reward_funcs", o.reward_funcs, "rewards by name");
  b.field("reward_weights", o.reward_weights, "weight of each reward in the total");
}

Scorer::Scorer(const RewardOptions& options) {
  if (options.reward_funcs.empty()) core::throw_user("reward.reward_funcs is empty: name at least one reward");
  if (options.reward_funcs.size() != options.reward_weights.size()) {
    core::throw_user("reward.reward_weights has {} entries, expected {}: one for each of reward_funcs",
                     options.reward_weights.size(), options.reward_funcs.size());
  }
  for (size_t i = 0; i < options.reward_funcs.size(); ++i) {
    if (!std::isfinite(options.reward_weights[i])) core::throw_user("reward.reward_weights holds a value that is not finite");
    parts_.push_back({options.reward_funcs[i], options.reward_weights[i], make_reward(options.reward_funcs[i])});
  }
}

data::Score Scorer::score(const data::Prompt& prompt, const data::Completion& completion) const {
  data::Score score{.value = 0.0, .status = data::ScoreStatus::kOk};
  for (const Part& part : parts_) {
    Judgement judgement;
    try {
      judgement = part.reward->judge(prompt, completion);
    } catch (const std::exception& error) {
      judgement = {std::nullopt, data::ScoreStatus::kCrashed, error.what()};
    }
    if (judgement.value) {
      score.parts[part.name] = *judgement.value;
      if (score.value) *score.value += part.weight * *judgement.value;
    } else {
      score.value.reset();
    }
    const bool first_failure = score.status == data::ScoreStatus::kOk && judgement.status != data::ScoreStatus::kOk;
    if (first_failure || score.reason.empty()) score.reason = judgement.reason;
    if (first_failure) score.status = judgement.status;
  }
  return score;
}

ScoringPool::ScoringPool(const Scorer& scorer, int num_threads) : scorer_(scorer) {
  for (int i = 0; i < num_threads; ++i) threads_.emplace_back([this] { work(); });
}

ScoringPool::~ScoringPool() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    jobs_.clear();
  }
  work_ready_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ScoringPool::start(size_t prompts, size_t samples) {
  const std::lock_guard lock(mutex_);
  PONDER_CHECK(under_way_ == 0, "[ScoringPool] start with {} scores under way", under_way_);
  scores_.assign(prompts, std::vector<std::optional<data::Score>>(samples));
}

void ScoringPool::submit(size_t prompt_index, size_t sample_index, const data::Prompt& prompt,
                         const data::Completion& completion) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back({prompt_index, sample_index, prompt, completion});
    ++under_way_;
  }
  work_ready_.notify_one();
}

void ScoringPool::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_ready_.wait(lock, [this] { return closing_ || !jobs_.empty(); });
    if (closing_) return;
    const Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    data::Score score = scorer_.score(job.prompt, job.completion);
    lock.lock();
    scores_.at(job.prompt_index).at(job.sample_index) = std::move(score);
    if (--under_way_ == 0) all_done_.notify_all();
  }
}

std::vector<std::vector<data::Score>> ScoringPool::finish() {
  std::unique_lock lock(mutex_);
  all_done_.wait(lock, [this] { return under_way_ == 0; });
  std::vector<std::vector<data::Score>> out;
  for (auto& group : scores_) {
    out.emplace_back();
    for (auto& score : group) {
      PONDER_CHECK(score.has_value(), "[ScoringPool] sample {} of prompt {} was never submitted", out.back().size(),
                   out.size() - 1);
      out.back().push_back(std::move(*score));
    }
  }
  scores_.clear();
  return out;
}

}  // namespace ponder::rewards
