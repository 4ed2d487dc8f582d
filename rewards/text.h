// Small views of text that several rewards share. All are linear in the text and safe on any bytes.
// Knows no reward.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/types.h"

namespace ponder::rewards::text {

// Without the white space (ASCII) at both ends.
std::string_view trimmed(std::string_view text);

// How often `part` occurs, without overlaps. REQUIRES: part is not empty.
size_t count_of(std::string_view text, std::string_view part);

// At most `bytes_max` bytes, cut at a character's border with "..." in place of the rest; for
// reasons.
std::string shortened(std::string_view text, size_t bytes_max = 60);

// ASCII letters in lower case; all other bytes as they are.
std::string lower(std::string_view text);

// The parts between white space (ASCII).
std::vector<std::string_view> words(std::string_view text);

// The next code point of `text` at `at`, which moves behind it. A byte that begins no valid UTF-8
// gives U+FFFD.
uint32_t next_code_point(std::string_view text, size_t& at);

// What a template opened at the prompt's end: the tags such as "<think>" (and white space around
// them) that end it; empty where the prompt ends otherwise.
std::string_view prefill(std::string_view prompt);

// What a reward of form judges: the prompt's prefill and the completion. Without a prefill it is
// the completion alone.
std::string rendered(const data::Prompt& prompt, const data::Completion& completion);

// What stands behind the last "</think>", or all of it where there is none.
std::string_view behind_reasoning(std::string_view text);

}  // namespace ponder::rewards::text
