// Attacks that a locked run tries on itself for `ponder doctor`: what a guarantee says must fail is
// tried, not assumed.
#pragma once

#include <string>

namespace ponder::sandbox {

// One word a line for each forbidden thing that WORKED ("socket", "shadow", "userns", ...); "" when
// all were refused. "no-proc" is a finding of its own kind: the run has no /proc. REQUIRES: called
// in the locked main process.
std::string probe_from_inside();

}  // namespace ponder::sandbox
