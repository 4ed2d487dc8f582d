// `ponder bench math`: the math checker's speed, and Math-Verify's beside it where a Python has it.
#pragma once

#include <string>

#include "data/types.h"

namespace ponder::cli {

struct MathBenchOptions {
  std::string cases = "tests/cases/math";  // folder of math500.jsonl and paraphrase.jsonl
  double seconds = 2;                      // of each set
  std::string peer;                        // a Python that has math-verify; empty: none
};

// By set what rewards::bench_math says; with a peer also math_verify_pairs_per_cpu_second (each
// pair once, defaults, its alarms off, caches as they are) and times_faster. Throws UserError:
// cases that cannot be read, a peer that fails.
data::Json bench_math(const MathBenchOptions& options);

}  // namespace ponder::cli
