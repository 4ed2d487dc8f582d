// R1-Zero's two rules (DeepSeek-R1, arXiv:2501.12948, §2.2): accuracy of the final answer, and the
// format <think>...</think><answer>...</answer>. Linear in the completion's length.
#pragma once

#include <string>
#include <string_view>

#include "rewards/reward.h"

namespace ponder::rewards {

// The text between the last "<answer>" and the "</answer>" behind it, blanks at both ends removed.
// None where the last
// "<answer>" is not closed: an earlier answer does not count then.
std::optional<std::string> last_answer(std::string_view completion);

// 1 where the last answer equals the prompt's answer: as integers of any size where both are, else
// as text. A completion that was cut (finish_reason length) has no answer. An absent reference
// gives no value (refused).
class AnswerTagAccuracy : public Reward {
 public:
  Judgement judge(const data::Prompt& prompt, const data::Completion& completion) const override;
  std::string problem_with(const data::Prompt& prompt) const override;
};

// 1 where the rendered text (what the template opened at the prompt's end, then the completion) is
// exactly <think>...</think><answer>...</answer>, white space around the blocks aside, each tag
// once and in this order, and the policy ended it itself.
class ThinkAnswerFormat : public Reward {
 public:
  Judgement judge(const data::Prompt& prompt, const data::Completion& completion) const override;
};

}  // namespace ponder::rewards
