// How much memory this process has used.
#pragma once

#include <cstdint>

namespace ponder::core {

// The largest resident size so far, in bytes (getrusage(2), ru_maxrss).
int64_t peak_memory_bytes();

}  // namespace ponder::core
