// A whole Hugging Face folder out: what transformers and vLLM load. The way in is Model::load and
// Tokenizer::from_folder.
#pragma once

#include <filesystem>

#include <ATen/core/ScalarType.h>

#include "policy/model.h"
#include "policy/tokenizer.h"

namespace ponder::policy {

// Writes config.json, the weights in `dtype`, generation_config.json (that of `tokenizer_dir` with
// the model's ids) and the tokenizer's files (copied from `tokenizer_dir`) into the existing folder
// `dir`. Every file is synced. Throws when a file cannot be written.
void save_hf_folder(const Model& model, at::ScalarType dtype,
                    const std::filesystem::path& tokenizer_dir, const std::filesystem::path& dir);

// Copies the named chat templates, chat_templates/*.jinja, where there are any.
void copy_chat_templates(const std::filesystem::path& from, const std::filesystem::path& to);

// Throws UserError where the tokenizer can make ids that the model's embedding does not have, or
// where an end-of-sequence id of the model is no token of the tokenizer.
void check_tokenizer_fits(const Tokenizer& tokenizer, const ModelConfig& config,
                          const std::filesystem::path& dir);

// Throws UserError where config.json names no end-of-sequence id: nothing that is sampled could
// end. A model that only scores needs none.
void check_can_end(const ModelConfig& config, const std::filesystem::path& dir);

}  // namespace ponder::policy
