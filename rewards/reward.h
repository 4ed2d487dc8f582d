// What a reward is: a rule that judges one completion of one prompt. Knows no model and no tensor. A reward never throws
// for what a completion says: that is an outcome, with a status and a reason a person can read.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/types.h"

namespace ponder::rewards {

// One reward's judgement.
struct Judgement {
  std::optional<double> value;  // none: not judged (our failure, an unusable reference); never 0 for that
  data::ScoreStatus status = data::ScoreStatus::kCrashed;
  std::string reason;
};

class Reward {
 public:
  virtual ~Reward() = default;
  // Thread-safe; bounded in time by the size of the completion.
  virtual Judgement judge(const data::Prompt& prompt, const data::Completion& completion) const = 0;
};

// The built-in reward of that name. Throws UserError with the nearest name.
std::unique_ptr<Reward> make_reward(const std::string& name);
std::vector<std::string> reward_names();

}  // namespace ponder::rewards
