// What one whole GRPO step costs on this machine, phase by phase: sample, reference, train.
#pragma once

#include <cstdint>
#include <filesystem>

#include "data/types.h"
#include "policy/optimizer.h"

namespace ponder::recipes {

struct GrpoBenchOptions {
  std::filesystem::path model;  // a Hugging Face folder with its tokenizer
  bool bf16 = true;             // weights in bfloat16 with float32 masters, else float32
  bool gradient_checkpointing = false;
  policy::MomentsDtype moments = policy::MomentsDtype::kFloat32;
  int64_t prompts = 8;
  int64_t num_generations = 8;  // completions of each prompt
  int64_t prompt_tokens = 64;
  int64_t new_tokens = 128;  // of the longest completion
  double spread = 8;         // the longest completion over the shortest; evenly spaced
  double beta = 0.04;        // above 0: with a reference policy
  int64_t train_tokens_max = 2048;
  int64_t repetitions = 3;  // steps that are timed, after one that is not
};

// Random prompts, completions of exactly these lengths (end-of-sequence tokens do not end them), a
// made-up reward, one update a step. Best step by phase, all steps' seconds, peak memory. Throws
// UserError where the model cannot be loaded.
data::Json bench_grpo_step(const GrpoBenchOptions& options);

}  // namespace ponder::recipes
