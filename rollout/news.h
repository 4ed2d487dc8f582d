// What the callbacks of requests are to hear of, in its order. The engine books first and tells
// afterwards: whatever a callback does, the books are right.
#pragma once

#include <deque>
#include <functional>
#include <memory>

#include "rollout/job.h"

namespace ponder::rollout {

class News {
 public:
  // Each of them: nothing where the request has no such callback.
  void prompt_scored(const std::shared_ptr<Job>& job);
  void token(const std::shared_ptr<Job>& job, TokenEvent event);
  void ended(const std::shared_ptr<Job>& job, size_t sample);
  void failed(const std::shared_ptr<Job>& job);

  // Calls back. Does nothing within a callback: the call under way goes on with what has come. An
  // exception of a callback passes through; the rest is told by the next call.
  void deliver();
  bool empty() const { return items_.empty(); }
  void clear() { items_.clear(); }

 private:
  std::deque<std::function<void()>> items_;
  bool delivering_ = false;
};

}  // namespace ponder::rollout
