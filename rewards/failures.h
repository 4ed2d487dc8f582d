// Stops a run whose rewards fail: a wrong answer is a verdict, a completion without one is ours to
// repair.
#pragma once

#include <deque>
#include <map>
#include <string>

#include "data/types.h"

namespace ponder::rewards {

// Whether a score is our failure and no verdict: crashed, timed out, or without a value.
bool is_failure(const data::Score& score);

// Watches the share of failures among the last scores. Not thread-safe.
class FailureGuard {
 public:
  explicit FailureGuard(double max_share) : max_share_(max_share) {}

  void add(const data::Score& score);
  // Throws RunError with counts and the last reason when more than max_share of the last kWindow
  // scores failed; never before kMinimum scores were seen, so that one failure in a small batch
  // ends no run.
  void check() const;

  static constexpr size_t kWindow = 512, kMinimum = 64;

 private:
  struct Seen {
    bool failed;
    data::ScoreStatus status;
  };
  double max_share_;
  std::deque<Seen> window_;
  size_t failures_ = 0;
  std::string last_reason_;
};

}  // namespace ponder::rewards
