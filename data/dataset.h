// Problems from files: JSONL or Parquet, one file or a folder of them, in Hugging Face's
// conventions or in those of verl and open-r1. Knows no chat template and no tokenizer: a prompt
// that is messages stays messages.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/recipe.h"
#include "data/types.h"

namespace ponder::data {

// Which column holds what. A name may go into objects by dots (reward_model.ground_truth); empty:
// as the layout has it.
struct ColumnOptions {
  std::string prompt = {};   // a text, or messages [{"role", "content"}, ...]
  std::string answer = {};   // any JSON
  std::string id = {};       // a text or a number, given once; absent: the row's place in its file
  std::string rewards = {};  // a list of reward names
};
void bind(core::Binder& b, ColumnOptions& options);

// The conventions that a file follows.
struct LayoutOptions {
  // "trl": prompt; answer, else solution; id; rewards. "verl": prompt, reward_model.ground_truth,
  // extra_info.id. "open_r1": problem, solution.
  std::string layout = "trl";
  ColumnOptions columns = {};
  // A file of somebody else's, such as an evaluation set: `columns` first where they are there,
  // then all layouts' names and "question". No key of a recipe.
  bool any_convention = false;
};
void bind(core::Binder& b, LayoutOptions& options);

// One row, not rendered yet.
struct Problem {
  Prompt prompt;           // its text is empty where there are messages
  Json messages;           // null, or a list of objects
  std::string place = {};  // where it stands, "F.jsonl:12"; empty for a task's
};

// Rows of a JSONL or Parquet file, or of a folder: its files SPLIT.jsonl, SPLIT-*.jsonl (and
// .parquet, in it or in its folder data/) in the order of their names, as a data set's repository
// on the Hugging Face hub has them. Every column that is none of the four above is kept in
// prompt.columns. Throws UserError that names file and line (row): no file, no row, broken JSON, a
// missing or mistyped column, an id given twice; where Parquet is read without the program for it,
// how to get that (parquet.h).
std::vector<Problem> read_problems(const std::filesystem::path& path, const std::string& split,
                                   const LayoutOptions& layout);

// The same from JSONL text; `name` stands in the errors for the file.
std::vector<Problem> parse_problems(const std::string& text, const std::string& name,
                                    const LayoutOptions& layout);

// The prompts of a file whose prompts are plain text (UserError where one is messages).
std::vector<Prompt> read_prompts(const std::filesystem::path& path);
std::vector<Prompt> parse_prompts(const std::string& text, const std::string& name);

}  // namespace ponder::data
