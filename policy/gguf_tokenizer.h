// The tokenizer inside a GGUF file as Hugging Face files. Knows byte-level BPE (tokenizer model
// "gpt2") with the pre-tokenizers whose tokenizer.json it knows exactly.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "policy/gguf.h"

namespace ponder::policy {

// Special tokens that the file names.
struct GgufTokenIds {
  std::optional<int64_t> bos, eos, pad, unk;
  std::vector<int64_t> ends;  // eos and the other ids that end a turn, each once
};

// Throws UserError where an id is no token of the list.
GgufTokenIds gguf_token_ids(const GgufContent& file);

// A tokenizer.json with the file's tokens and merges and the pipeline that `tokenizer.ggml.pre`
// stands for. Throws UserError: another tokenizer model (SentencePiece, WordPiece), an unknown
// pre-tokenizer, lists of different lengths, a token given twice, a merge that is not two tokens.
nlohmann::json gguf_tokenizer_json(const GgufContent& file);

// A tokenizer_config.json: special tokens by their text, the chat template, `context` as the
// longest input.
nlohmann::json gguf_tokenizer_config(const GgufContent& file, int64_t context);

}  // namespace ponder::policy
