// One run inside a box: fresh namespaces, fresh writable file systems, limits, locks, then the
// untrusted program. Shared by the box (which execs programs) and the warm Python interpreter
// (which forks). Knows nothing of verdicts.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

#include "sandbox/box/protocol.h"

namespace ponder::sandbox {

// The descriptors beside a RunSpec, by role; -1 where absent. Negative count mismatch makes split()
// false.
struct RunFds {
  int status = -1, in = -1, out = -1, err = -1, binary = -1, collect = -1;
  std::vector<int> extra, files, cgroups;

  static bool split(const RunSpec& spec, const std::vector<int>& fds, RunFds& out);
};

// The namespaces that every run gets anew, and SIGCHLD: flags for clone(2).
extern const int kRunNamespaces;

// The life of a run's init (pid 1 of its namespace, trusted): join the cgroups, mount, start the
// main process, wait for it, report, exit; the kernel then kills whatever the program left behind.
// Returns only in the main process of a kind that an interpreter continues, fully locked, with 0,
// 1, 2 and the extra descriptors in place and all others closed. It asks for no memory between its
// announcement and its end, so that a kill cannot tear the heap of a caller who shares it
// (zygote.cpp); with spec.watch it does. REQUIRES: every capability over the box's user namespace;
// a single thread.
void run_as_init(const RunSpec& spec, const RunFds& fds, const std::string& filter);

// Never dumpable: same-user processes may not read or write this one's memory, environment or
// descriptors (G2, G5).
void hide_memory();

}  // namespace ponder::sandbox
