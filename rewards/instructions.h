// Instruction-following checks of IFEval's kind (arXiv:2311.07911, table 1;
// google-research/instruction_following_eval). The prompt's columns hold them in that data set's
// form: "instruction_id_list": [ids], "kwargs": [{arguments}, ...].
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/recipe.h"
#include "rewards/reward.h"

namespace ponder::rewards {

// Whether `text` follows the instruction `id` with `arguments`. Throws std::invalid_argument: an
// unknown id, missing or mistyped arguments. Departures from IFEval's code: sentences end at . ! ?
// before white space or the end (no NLTK), words are parts between white space that hold a letter
// or digit, language is told by rewards/language.h.
bool follows_instruction(const std::string& id, const data::Json& arguments, std::string_view text);
std::vector<std::string> instruction_ids();

struct InstructionOptions {
  bool fraction = false;  // the share of instructions that are followed, else 1 only where all are
};
void bind(core::Binder& b, InstructionOptions& o);

// Judges what stands behind the reasoning. An empty completion follows nothing.
class InstructionFollowing : public Reward {
 public:
  explicit InstructionFollowing(const InstructionOptions& options) : options_(options) {}
  Judgement judge(const data::Prompt& prompt, const data::Completion& completion) const override;
  std::string problem_with(const data::Prompt& prompt) const override;

 private:
  InstructionOptions options_;
};

}  // namespace ponder::rewards
