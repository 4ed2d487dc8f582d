// `--workers N`: the same program N times on this machine, as a launcher would start it. The
// parent starts, watches and ends its workers; it trains nothing itself.
#pragma once

#include <string>
#include <vector>

namespace ponder::distributed {

struct SpawnOptions {
  double grace_s = 8;
  // Workers begin with SIGINT and SIGTERM blocked, so that none is lost before they call
  // core::catch_stop_signals(), which they must.
  bool block_stops = false;
};

// Starts `words` (a program and its arguments) `workers` times with RANK, WORLD_SIZE, LOCAL_RANK,
// MASTER_ADDR and a free MASTER_PORT set. SIGINT and SIGTERM are handed on, and the workers take
// their time to save. When one ends with anything but 0 the others get SIGTERM and after
// grace_s SIGKILL, one that is stopped (SIGSTOP) at once; should this process die, its workers
// die with it. Returns 0 when all have ended well, else the exit status of the first that did not:
// 1 where a signal ended it. Each that a signal has ended is named on stderr. Throws RunError when
// a process can't be started.
int run_workers(const std::vector<std::string>& words, int workers,
                const SpawnOptions& options = {});

}  // namespace ponder::distributed
