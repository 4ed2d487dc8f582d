// A scalar reward model: one of policy's architectures with a sequence classification head of one
// label, as a function that rewards/ can call (rewards/model_reward.h).
#pragma once

#include <filesystem>

#include "rewards/reward.h"

namespace ponder::recipes {

// The model of a Hugging Face folder as *ForSequenceClassification saves it: the policy's tensors
// without lm_head, and "score.weight" [1, hidden]. A text's score is the
// head's value at its last token; the text is encoded with the tokenizer's special tokens where it
// does not begin with them already. Texts go through the model packed, without padding. Throws
// UserError: no such folder, a head of several labels, a text that is empty or longer than the
// model's context (at the call).
rewards::ScoreTexts load_reward_model(const std::filesystem::path& folder);

}  // namespace ponder::recipes
