// How many pairs a second the checker judges, for `ponder bench math`.
#pragma once

#include <filesystem>

#include "data/types.h"

namespace ponder::rewards {

// Judges the pairs of math500.jsonl and paraphrase.jsonl in `cases` again and again for at least
// `seconds` of CPU time each, on this thread. By set: pairs, pairs_per_cpu_second, p50_us, p99_us,
// max_us. Throws UserError if a file is missing or unreadable.
data::Json bench_math(const std::filesystem::path& cases, double seconds);

}  // namespace ponder::rewards
