// Is the text laid out as asked? Judges tags and boxes of a rendered completion (what the template
// prefilled included), never what they say.
#pragma once

#include <string_view>

namespace ponder::rewards {

// <think>..</think> first, once, and anything behind it (TRL's think_format_reward).
bool has_think_format(std::string_view text);

// R1's template, strictly: blank space, <think>..</think>, blank space, <answer>..</answer>, blank
// space; each tag once (DeepSeek-R1, arXiv:2501.12948, table 1). Tags are in lower case.
bool has_think_answer_format(std::string_view text);

// A quarter for each of the four tags that stands exactly once, on lines of its own as open-r1's
// tag_count_reward has it.
double tag_count(std::string_view text);

// A closed \boxed{..}.
bool has_boxed(std::string_view text);

// Exactly one final answer: one <answer>..</answer>, or none and one closed \boxed behind the
// reasoning.
bool has_one_answer(std::string_view text);

}  // namespace ponder::rewards
