// From what happened to a verdict.
#pragma once

#include "sandbox/supervise.h"

namespace ponder::sandbox {

// Precedence: IE > OLE > TLE > MLE > SV > RE > AC. AC here means "ended by itself with exit status
// 0"; comparing output comes after. `own_binary`: what failed to exec was compiled from the
// request's code, so that is its own fault.
TestResult classify(Outcome&& outcome, const Limits& limits, bool own_binary);

}  // namespace ponder::sandbox
