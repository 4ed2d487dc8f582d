// The keys under [dataset] of a recipe: where the prompts come from and how they are put.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/recipe.h"
#include "data/dataset.h"
#include "data/difficulty.h"
#include "data/tasks.h"

namespace ponder::recipes {

struct DatasetOptions {
  // A procedural task (chain_sums, arithmetic, countdown, linear_equations, logic), or the path of
  // a JSONL or Parquet file, or of a folder of them.
  std::string name = "chain_sums";
  std::string split = "train";      // of a folder: its files SPLIT*.jsonl and SPLIT*.parquet
  data::LayoutOptions layout = {};  // bound flat: dataset.layout, dataset.columns
  // The share of a file's prompts, chosen by the hash of their words, that is never trained on. (Of
  // a task it is a tenth.)
  double test_share = 0.1;
  bool shuffle = true;  // each epoch in an order of its own; false: the file's order
  // How a prompt becomes the text that the policy continues. system_prompt: put before it as a
  // message. prompt_template: "{prompt}" (and "{system}") in it are replaced; empty: messages go
  // through the model's chat template, plain text stays as it is, a task's question becomes
  // "User: ...\nAssistant:" where the model has no chat template.
  std::string system_prompt = {};
  std::string prompt_template = {};
  // Prompts that share a run of so many words with a prompt of these files are left out.
  std::vector<std::string> decontaminate = {};
  int64_t decontaminate_ngram = 8;
  std::string domain_column =
      {};                        // metrics are also given by the values of this column; empty: not
  data::TaskOptions tasks = {};  // bound flat: dataset.countdown and so on
  data::CurriculumOptions curriculum = {};
};
void bind(core::Binder& b, DatasetOptions& options);

}  // namespace ponder::recipes
