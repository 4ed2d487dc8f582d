// The prompts of a stage, by number: the same number gives the same prompt in every run of the
// recipe, so that a resume needs no more than the number it had come to.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/types.h"
#include "policy/tokenizer.h"
#include "recipes/dataset_options.h"
#include "recipes/render.h"

namespace ponder::recipes {

class PromptSource {
 public:
  // Reads the dataset. Throws UserError: a dataset that is empty or cannot be read, a prompt that
  // leaves no room in the model's `context` (tokens), or that leaves nothing to train on. Warns on
  // stderr of prompts without an answer, and says how many decontamination took out. REQUIRES:
  // tokenizer outlives it.
  PromptSource(const DatasetOptions& options, uint64_t seed, const policy::Tokenizer& tokenizer,
               int64_t context, const std::filesystem::path& model_folder);
  PromptSource(const PromptSource&) = delete;  // the renderer refers to the options
  PromptSource& operator=(const PromptSource&) = delete;

  // Training prompt number `index`, encoded. A file is gone through in epochs, each in an order of
  // its own.
  data::Prompt at(int64_t index);

  // Whether the prompts come again in epochs (a file) or are new for ever (a task); size() is the
  // number in one epoch, 0 for a task.
  bool finite() const { return !train_.empty(); }
  int64_t size() const { return static_cast<int64_t>(train_.size()); }

  // The first `count` held-out problems, encoded; fewer where there are fewer.
  std::vector<data::Prompt> held_out(int64_t count) const;

  // All training prompts of a file, encoded (none for a task): to be checked before training.
  const std::vector<data::Prompt>& train() const { return train_; }
  // Where they stand, and where those of held_out() stand: "F.jsonl:12"; none for a task.
  const std::vector<std::string>& train_places() const { return train_places_; }
  const std::vector<std::string>& held_out_places() const { return held_out_places_; }
  int64_t num_decontaminated() const { return num_decontaminated_; }
  // Of all training prompts of a file, in their order; 0 for a task: tells a file that was changed.
  uint64_t fingerprint() const { return fingerprint_; }

 private:
  void read_files(int64_t context);

  DatasetOptions options_;
  uint64_t seed_;
  Renderer renderer_;
  std::vector<data::Prompt> train_, held_out_;  // of a file
  std::vector<std::string> train_places_, held_out_places_;
  int64_t num_decontaminated_ = 0;
  uint64_t fingerprint_ = 0;
  int64_t epoch_ = -1;          // that order_ is of
  std::vector<int64_t> order_;  // of train_ in that epoch
};

// Problems to evaluate on: a task's held-out ones by its name, or all of a file, put as `options`
// (of the recipe's own dataset, or none) say. A file may have any layout's columns. Throws
// UserError for a prompt that leaves no room in the model's `context` (tokens).
std::vector<data::Prompt> evaluation_prompts(const std::string& dataset, int64_t count,
                                             const policy::Tokenizer& tokenizer, int64_t context,
                                             DatasetOptions options = {},
                                             const std::filesystem::path& model_folder = {});

}  // namespace ponder::recipes
