// One input of the math checker's fuzzers: bytes, split at the first newline into a gold and a
// completion.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ponder::rewards {

// Judges the pair in both directions and the gold against itself. Aborts if a readable gold is not
// equal to itself.
void fuzz_math(const uint8_t* data, size_t size);

}  // namespace ponder::rewards
