// Rewards of form beside R1's (r1.h): tags, boxes, one final answer. All judge the rendered text.
#pragma once

#include <string_view>

#include "rewards/reward.h"

namespace ponder::rewards {

// The content of the last \boxed{...} with its braces in balance; \{ and \} do not count. None
// where there is no \boxed{ or the last one is never closed: an earlier one does not count then.
std::optional<std::string_view> last_boxed(std::string_view text);

// The last <answer>...</answer>, else the last \boxed{...}, both outside the reasoning; none where
// there is neither.
std::optional<std::string> final_answer(std::string_view text);

// TRL's think_format_reward: the text begins with <think>, the only one, and closes it.
class ThinkFormat : public Reward {
 public:
  Judgement judge(const data::Prompt& prompt, const data::Completion& completion) const override;
};

// A quarter for each of "<think>\n", "\n</think>\n", "\n<answer>\n", "\n</answer>" that stands
// exactly once (open-r1's tag_count_reward, src/open_r1/rewards.py).
class TagCount : public Reward {
 public:
  Judgement judge(const data::Prompt& prompt, const data::Completion& completion) const override;
};

// 1 where the part behind the reasoning holds a closed \boxed{...}.
class BoxedFormat : public Reward {
 public:
  Judgement judge(const data::Prompt& prompt, const data::Completion& completion) const override;
};

// 1 where the part behind the reasoning gives exactly one final answer: one <answer>, or, without
// that, one \boxed.
class OneAnswer : public Reward {
 public:
  Judgement judge(const data::Prompt& prompt, const data::Completion& completion) const override;
};

}  // namespace ponder::rewards
