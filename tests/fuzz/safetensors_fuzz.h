// Fuzz target, also replayed by tests/policy/safetensors_test.cpp: any bytes as a weights file.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ponder::fuzz {

// 1 when the bytes were a safetensors file (every tensor's bytes are then read), 0 when they were
// refused with a UserError. Anything else that is thrown passes through.
int fuzz_safetensors(const uint8_t* data, size_t size);

}  // namespace ponder::fuzz
