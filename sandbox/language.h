// How a language is compiled and run. Built in: "python" and "cpp"; others are described in a small
// TOML file.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace ponder::sandbox {

struct Language {
  std::string name;
  std::string source;  // file name of the code in the work directory, e.g. "main.c"
  std::vector<std::string>
      compile;  // command, absolute program first; leaves an executable "main"; empty: none
  std::vector<std::string> run;  // command; empty when compiled: the executable itself
  std::vector<std::string> env;  // NAME=value, beside PATH, HOME and LANG
};

// The interpreter and compiler are found at their usual places unless PONDER_PYTHON or PONDER_CXX
// names another.
Language python_language();
Language cpp_language();

// [[language]] tables with the fields above. Throws UserError (file, line, what is wrong).
std::vector<Language> read_languages(const std::filesystem::path& file);

}  // namespace ponder::sandbox
