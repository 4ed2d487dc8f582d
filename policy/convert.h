// Model files of other kinds into a Hugging Face folder that transformers and ponder load.
#pragma once

#include <cstdint>
#include <filesystem>

#include <ATen/core/ScalarType.h>

namespace ponder::policy {

struct ConvertOptions {
  at::ScalarType dtype = at::ScalarType::BFloat16;  // of the weights: BFloat16, Half or Float
  int64_t max_shard_bytes = 5'000'000'000;          // transformers' default of 5 GB
  std::filesystem::path adapter = {};  // PEFT's folder, merged into a Hugging Face folder; "": none
};

struct ConvertReport {
  int64_t tensors = 0;
  int64_t parameters = 0;
};

// `in` is a GGUF file (gguf_config.h says which models), or a Hugging Face folder, whose FP8
// weights with block scales are decoded. `out` must not exist: it is made aside and renamed when
// all of it is written and synced; after an error nothing of it remains. One tensor is in memory at
// a time. Throws UserError naming file and tensor: what the readers refuse, an adapter that does
// not fit, an existing `out`, weights that are not finite, a model or a tokenizer that ponder does
// not know; RunError where core::stop_requested().
ConvertReport convert_model(const std::filesystem::path& in, const std::filesystem::path& out,
                            const ConvertOptions& options);

}  // namespace ponder::policy
