// Fuzz target, also replayed by tests/policy/jinja_fuzz_test.cpp: any bytes as a chat template.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ponder::fuzz {

// 1 when the bytes were a template that renders a chat (its text is then UTF-8 and its spans lie
// within), 0 when they were refused with a UserError. Anything else that is thrown passes through.
int fuzz_jinja(const uint8_t* data, size_t size);

}  // namespace ponder::fuzz
