// Answers that are words: "Evelyn", "(C)", "no solution". They are compared as text, without
// markup, case (where it is a word and not a product of variables) and punctuation.
#pragma once

#include <string>
#include <string_view>

namespace ponder::rewards::math {

// Both as normalise() returns them. True only if the two are the same words or the same choice.
bool same_words(std::string_view gold, std::string_view answer);

// The text without \text{..} and its kin, quotes and outer punctuation, blanks collapsed; empty if
// it holds anything but words, numbers and simple punctuation. `marked` is set if a letter stood in
// a text group.
std::string plain_words(std::string_view text, bool* marked);

}  // namespace ponder::rewards::math
