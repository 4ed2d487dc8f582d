// The JSON files of a checkpoint: with a checksum of their own, so that a damaged one is found
// before its values are used, and with one way to say that something is damaged.
#pragma once

#include <filesystem>
#include <string_view>

#include "data/types.h"

namespace ponder::recipes {

// Writes the object as one file, atomically, with "crc32c" of its other members. Bytes that are no
// UTF-8 become replacement characters.
void write_checkpoint_json(const std::filesystem::path& path, data::Json object);

// The object of such a file. Throws UserError where it is damaged; one without "crc32c" is taken as
// it is.
data::Json read_checkpoint_json(const std::filesystem::path& path);

// UserError "PATH: damaged (WHAT)", with the remedy.
[[noreturn]] void throw_damaged(const std::filesystem::path& path, std::string_view what);

// The same for a member that is missing or of another type.
[[noreturn]] void throw_damaged(const std::filesystem::path& path,
                                const data::Json::exception& error);

}  // namespace ponder::recipes
