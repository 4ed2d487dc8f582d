// Signs that a policy games its rewards, counted over scored groups: figures for the metrics and
// the report. A sign is no verdict: it says where to look.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "data/types.h"

namespace ponder::rewards {

struct HackSigns {
  bool tag_spam = false;    // one of the four tags of think and answer stands more than twice
  bool many_boxes = false;  // more than two \boxed or <answer> behind the reasoning
  bool prompt_copy =
      false;  // half of the completion's 8-grams of words stand in the prompt (from 16 words on)
  bool hidden_answer = false;  // more than 2,000 bytes follow the final answer
};
HackSigns hack_signs(const data::Prompt& prompt, const data::Completion& completion);

// "hacks/tag_spam" and so on: the share of completions with the sign, and "hacks/rewarded": the
// share of the completions with any sign among those above their group's mean reward. Empty groups
// give nothing.
std::map<std::string, double> hack_metrics(const std::vector<data::ScoredGroup>& groups);

}  // namespace ponder::rewards
