// The bytes that a token stands for in the middle of a text. Several tokens may make one character
// together: decoded alone, each of them would read as U+FFFD.
#pragma once

#include <cstdint>
#include <string>

#include "policy/tokenizer.h"

namespace ponder::rollout {

// Perhaps not UTF-8; "" for an id without a token.
std::string token_bytes(const policy::Tokenizer& tokenizer, int32_t id);

// The token's text, or, where its bytes are not whole characters, OpenAI's "bytes:\xf0\x9f".
std::string token_name(const policy::Tokenizer& tokenizer, int32_t id);

}  // namespace ponder::rollout
