// Fuzz target, also replayed by tests/policy/gguf_test.cpp: any bytes as a GGUF file.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ponder::fuzz {

// 1 when the bytes were a GGUF file with a config and a tokenizer, 0 when they were refused with a
// UserError at any step. Every tensor is decoded. Anything else that is thrown passes through.
int fuzz_gguf(const uint8_t* data, size_t size);

}  // namespace ponder::fuzz
