// Summed CPU time and memory of every process of a run, read from /proc by the run's init: the
// measure used where no cgroup is writable. Sampled, so it can be overshot between two samples.
#pragma once

#include <cstdint>

namespace ponder::sandbox {

struct Usage {
  uint64_t cpu_ns = 0;
  uint64_t memory_bytes =
      0;  // anonymous and shared memory of all processes, and the files of the writable tmpfs
};

// REQUIRES: called by pid 1 of the run.
Usage usage_of_all();

// CPU time of the descendants that have ended and were waited for.
uint64_t cpu_ns_of_reaped();
// The largest resident size one of them had.
uint64_t peak_bytes_of_reaped();

// So that wait_for_child() can be woken by it.
void block_child_signal();

// Returns when a child changed state, at the latest after `timeout_ms`.
void wait_for_child(int timeout_ms);

}  // namespace ponder::sandbox
