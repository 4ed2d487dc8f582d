// Starts a plugin: a folder with a reward that works, cases that test it, and the two commands to
// run.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace ponder::rewards {

// Writes the folder `path`, whose last part names the reward, and returns the files. `language`:
// "python", "cpp" or "c". Throws UserError: a name that is no identifier, an unknown language, a
// folder that exists.
std::vector<std::filesystem::path> write_skeleton(const std::filesystem::path& path,
                                                  const std::string& language);

}  // namespace ponder::rewards
