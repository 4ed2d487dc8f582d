// Multiple choice and exact match, on the answer that the math checker's extraction finds. They
// know nothing of mathematics.
#pragma once

#include <string>
#include <string_view>

#include "rewards/math/math.h"

namespace ponder::rewards {

// The letter (upper case, up to 'J') that a completion chooses: of its last answer, else the last
// letter that stands alone; 0 if there is none, or several are named where one was asked for.
char chosen_letter(std::string_view completion);

// kRight if the letters agree, kUnparsed if the completion chooses none, kUnparsedGold if the gold
// is no choice.
MathVerdict check_choice(std::string_view completion, std::string_view gold);

// kRight if the last answer is the gold, blanks collapsed and, unless `match_case`, in any case.
MathVerdict check_exact(std::string_view completion, std::string_view gold, bool match_case);

}  // namespace ponder::rewards
