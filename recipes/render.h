// How a problem becomes the text that the policy continues: the recipe's prompt template, the
// model's chat template, or nothing at all.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "data/dataset.h"
#include "policy/tokenizer.h"
#include "recipes/dataset_options.h"

namespace ponder::recipes {

// Messages -> the text up to where the assistant's turn begins.
using RenderChat = std::function<std::string(const data::Json& messages)>;

// The chat template of a Hugging Face folder; empty where it has none.
RenderChat chat_template_of(const std::filesystem::path& model_folder);

class Renderer {
 public:
  // Throws UserError for a prompt_template without "{prompt}". REQUIRES: what is referred to
  // outlives it.
  Renderer(const DatasetOptions& options, const policy::Tokenizer& tokenizer, RenderChat chat);

  // The prompt with its text and token ids. `is_question`: the text is what a user would say (a
  // task's), not yet a prompt. Throws UserError where there are messages but nothing to render them
  // with.
  data::Prompt render(data::Problem problem, bool is_question) const;

 private:
  std::string fill_template(const data::Json& messages) const;

  const DatasetOptions& options_;
  const policy::Tokenizer& tokenizer_;
  RenderChat chat_;
};

}  // namespace ponder::recipes
