#include "rollout/news.h"

#include <utility>

#include "rollout/not_finite.h"

namespace ponder::rollout {

void News::prompt_scored(const std::shared_ptr<Job>& job) {
  if (!job->request().on_prompt) return;
  items_.emplace_back([job] { job->request().on_prompt(job->prompt_scores()); });
}

void News::token(const std::shared_ptr<Job>& job, TokenEvent event) {
  if (!job->request().on_token) return;
  items_.emplace_back([job, event = std::move(event)] { job->request().on_token(event); });
}

void News::ended(const std::shared_ptr<Job>& job, size_t sample) {
  if (!job->request().on_completion) return;
  items_.emplace_back(
      [job, sample] { job->request().on_completion(0, sample, job->completion(sample)); });
}

void News::failed(const std::shared_ptr<Job>& job) {
  if (!job->request().on_failed) return;
  items_.emplace_back([job] { job->request().on_failed(NotFiniteLogits(job->failure()).what()); });
}

void News::deliver() {
  if (delivering_) return;
  const struct Flag {
    bool& flag;
    explicit Flag(bool& f) : flag(f) { flag = true; }
    ~Flag() { flag = false; }
  } guard(delivering_);
  while (!items_.empty()) {
    const std::function<void()> item = std::move(items_.front());
    items_.pop_front();
    item();
  }
}

}  // namespace ponder::rollout
