// The model's shape inside a GGUF file as a Hugging Face config.json. Knows the metadata of the
// architectures llama, qwen2, qwen3 and deepseek2 (V2, V3 and R1).
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "policy/gguf.h"

namespace ponder::policy {

// Throws UserError: an architecture that ponder does not know, missing or impossible metadata, a
// RoPE that a config.json cannot say. `dtype` ("bfloat16") is what the weights will be.
nlohmann::json gguf_config_json(const GgufContent& file, const std::string& dtype);

// A generation_config.json: bos, the tokens that end a turn, pad.
nlohmann::json gguf_generation_config(const GgufContent& file);

}  // namespace ponder::policy
