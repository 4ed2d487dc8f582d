#include "core/memory.h"

#include <sys/resource.h>

namespace ponder::core {

int64_t peak_memory_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * int64_t{1024};  // Linux counts in KiB
}

}  // namespace ponder::core
