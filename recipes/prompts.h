// The prompts of a stage, by number: the same number gives the same prompt in every run of the
// recipe, so that a resume needs no cursor but the step.
#pragma once

#include <cstdint>
#include <vector>

#include "data/types.h"
#include "policy/tokenizer.h"
#include "recipes/options.h"

namespace ponder::recipes {

class PromptSource {
 public:
  // Reads the dataset. Throws UserError: a dataset that is empty or cannot be read, a prompt that
  // leaves no room in the model's `context` (tokens), or that leaves
  // nothing to train on.
  PromptSource(const DatasetOptions& options, uint64_t seed, const policy::Tokenizer& tokenizer,
               int64_t context);

  // Training prompt number `index`, encoded. A file is gone through in epochs, each in an order of
  // its own.
  data::Prompt at(int64_t index);

  // Whether the prompts come again in epochs (a file) or are new for ever (a task); size() is the
  // number in one epoch, 0 for a task.
  bool finite() const { return !train_.empty(); }
  int64_t size() const { return static_cast<int64_t>(train_.size()); }

  // The first `count` held-out problems, encoded; fewer where a file has fewer. For a file: the
  // tenth of its prompts whose id's hash says so.
  std::vector<data::Prompt> held_out(int64_t count) const;

 private:
  data::Prompt encoded(data::Prompt prompt) const;

  DatasetOptions options_;
  uint64_t seed_;
  const policy::Tokenizer& tokenizer_;
  std::vector<data::Prompt> train_, held_out_;  // of a file
  int64_t epoch_ = -1;                          // that order_ is of
  std::vector<int64_t> order_;                  // of train_ in that epoch
};

// Problems to evaluate on: a task's held-out ones by its name ("countdown"), or all of a JSONL
// file.
std::vector<data::Prompt> evaluation_prompts(const std::string& dataset, int64_t count,
                                             const policy::Tokenizer& tokenizer);

}  // namespace ponder::recipes
