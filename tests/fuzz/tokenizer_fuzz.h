// Fuzz target, also replayed by tests/policy/tokenizer_fuzz_test.cpp: any bytes as a
// tokenizer.json.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ponder::fuzz {

// 1 when the bytes were a tokenizer (which then has to encode and decode), 0 when they were refused
// with a UserError. Anything else that is thrown passes through.
int fuzz_tokenizer_json(const uint8_t* data, size_t size);

}  // namespace ponder::fuzz
