// What the verbs that only read a model share: a policy and its tokenizer from a Hugging Face
// folder.
#pragma once

#include <filesystem>

#include "policy/hf_folder.h"
#include "policy/model.h"
#include "policy/tokenizer.h"

namespace ponder::cli {

struct PolicyFiles {
  policy::Model model;
  policy::Tokenizer tokenizer;
};

// Throws UserError where the folder holds no usable model or the tokenizer does not fit it.
inline PolicyFiles load_policy(const std::filesystem::path& dir,
                               at::ScalarType dtype = at::kFloat) {
  PolicyFiles files{policy::Model::load(dir, dtype), policy::Tokenizer::from_folder(dir)};
  policy::check_tokenizer_fits(files.tokenizer, files.model.config(), dir);
  return files;
}

}  // namespace ponder::cli
