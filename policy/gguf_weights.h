// The weights inside a GGUF file as the tensors of a Hugging Face folder: names, shapes and the
// order of rows as transformers has them. Knows the tensors of the architectures that
// gguf_config.h knows.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include <ATen/core/ScalarType.h>

#include "policy/gguf.h"
#include "policy/safetensors.h"

namespace ponder::policy {

// One source for each tensor of the model, in the file's order; `config` is gguf_config_json's. The
// sources keep the file mapped; they decode when they are written, to `dtype` (the balance bias of
// experts stays float32). Throws UserError on a tensor that the architecture does not have, one
// whose shape does not fit the config, and, from make(), on values that are not finite.
std::vector<TensorSource> gguf_weights(const GgufFile& file, const nlohmann::json& config,
                                       at::ScalarType dtype);

}  // namespace ponder::policy
