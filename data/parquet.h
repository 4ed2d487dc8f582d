// Parquet files, through Arrow's own library: a small program of its own, ponder-parquet, reads
// them, so that ponder neither links nor needs Arrow. tools/parquet makes that program from the
// pyarrow wheel.
#pragma once

#include <filesystem>
#include <string>

namespace ponder::data {

// The rows as JSON lines: structs are objects, lists and maps arrays (a map's of [key, value]),
// dates and times ISO 8601 texts, bytes texts. The program is $PONDER_PARQUET, else ponder-parquet
// beside the running program. Throws UserError: the program is not there (with the command that
// makes it), or it refuses the file.
std::string read_parquet_as_jsonl(const std::filesystem::path& path);

}  // namespace ponder::data
