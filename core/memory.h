// How much memory this process uses.
#pragma once

#include <cstdint>

namespace ponder::core {

// The largest resident size so far, in bytes (getrusage(2), ru_maxrss).
int64_t peak_memory_bytes();

// The resident size now, in bytes (/proc/self/statm).
int64_t resident_memory_bytes();

// Bytes that the C library has handed out and not got back (mallinfo2(3)); LibTorch's CPU tensors
// are among them.
int64_t allocated_bytes();

// Gives the whole pages of a block of memory back to the system (madvise(2), MADV_DONTNEED): what
// was written there is lost, and the block stays the owner's.
void drop_pages(void* data, int64_t bytes);

}  // namespace ponder::core
