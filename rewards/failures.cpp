#include "rewards/failures.h"

#include "core/error.h"

namespace ponder::rewards {

bool is_failure(const data::Score& score) {
  return !score.value || score.status == data::ScoreStatus::kCrashed ||
         score.status == data::ScoreStatus::kTimeout;
}

void FailureGuard::add(const data::Score& score) {
  window_.push_back({is_failure(score), score.status});
  if (window_.back().failed) {
    ++failures_;
    last_reason_ = score.reason;
  }
  if (window_.size() <= kWindow) return;
  failures_ -= window_.front().failed ? 1 : 0;
  window_.pop_front();
}

void FailureGuard::check() const {
  if (window_.size() < kMinimum ||
      static_cast<double>(failures_) <= max_share_ * static_cast<double>(window_.size()))
    return;
  std::map<std::string, int> counts;
  for (const Seen& seen : window_) {
    if (seen.failed) ++counts[data::name_of(seen.status)];
  }
  std::string kinds;
  for (const auto& [name, count] : counts)
    kinds += fmt::format("{}{} {}", kinds.empty() ? "" : ", ", count, name);
  core::throw_run(
      "rewards failed for {} of the last {} completions ({}), more than max_failure_share = {}; "
      "the last: {}. "
      "Try them with `ponder score`, or raise the limit",
      failures_, window_.size(), kinds, max_share_, last_reason_);
}

}  // namespace ponder::rewards
