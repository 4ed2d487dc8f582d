// Prompts from a JSONL file: one object a line with "prompt" (text), and, where there are, "answer"
// (any JSON; "solution" serves too), "id" and "rewards"; every other column is kept and handed to
// the rewards.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/types.h"

namespace ponder::data {

// Throws UserError that names file and line: no file, no prompt in it, broken JSON, a missing or
// mistyped "prompt", an id given twice. Without "id" a prompt's id is its line's number.
std::vector<Prompt> read_prompts(const std::filesystem::path& path);

// The same from text; `name` stands in the errors for the file.
std::vector<Prompt> parse_prompts(const std::string& text, const std::string& name);

}  // namespace ponder::data
