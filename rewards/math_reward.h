// Reward "math": is the completion's final answer mathematically equal to the reference? The
// checker is rewards/math/.
#pragma once

#include "core/recipe.h"
#include "rewards/math/math.h"
#include "rewards/reward.h"

namespace ponder::rewards {

void bind(core::Binder& b, MathOptions& options);

// 1 where it is; a cut completion has no answer. A reference that cannot be read gives no value
// (refused).
class MathReward : public Reward {
 public:
  explicit MathReward(const MathOptions& options = {}) : options_(options) {}
  Judgement judge(const data::Prompt& prompt, const data::Completion& completion) const override;
  std::string problem_with(const data::Prompt& prompt) const override;

 private:
  MathOptions options_;
};

}  // namespace ponder::rewards
