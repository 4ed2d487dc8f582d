// A policy's network under another head than lm_head: the body of a sequence classifier.
#pragma once

#include <filesystem>
#include <string>

#include <ATen/core/ScalarType.h>

#include "policy/model.h"

namespace ponder::policy {

// Model::load for a folder whose output is the tensor `head` (score.weight of a
// *ForSequenceClassification) in place of lm_head: the head stays the caller's, and output_weight()
// of the result means nothing. Throws UserError as Model::load.
Model load_body(const std::filesystem::path& dir, const std::string& head,
                at::ScalarType dtype = at::kFloat);

}  // namespace ponder::policy
