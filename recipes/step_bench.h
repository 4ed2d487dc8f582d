// What training a policy costs on this machine: tokens a second, share of the machine's own matmul
// peak, peak memory.
#pragma once

#include <cstdint>
#include <filesystem>

#include "data/types.h"
#include "distributed/group.h"
#include "policy/optimizer.h"

namespace ponder::recipes {

struct StepBenchOptions {
  std::filesystem::path model = {};  // a Hugging Face folder; its tokenizer is not needed
  bool bf16 = true;                  // weights in bfloat16 with float32 masters, else float32
  bool gradient_checkpointing = false;
  policy::MomentsDtype moments = policy::MomentsDtype::kFloat32;
  int64_t sequences = 64;     // in one optimizer update
  int64_t mean_length = 192;  // tokens
  double spread = 4;          // the longest length over the shortest; lengths are evenly spaced
  int64_t train_tokens_max = 2048;  // tokens in one forward and backward
  int64_t repetitions = 2;          // updates that are timed, after one that is not
  int64_t micro_batches_max = 0;    // of each update; the rest is scaled up. 0: all
};

// Lengths of the sequences, in the order in which they are trained: from 2 mean / (1 + spread) to
// spread times that, in steps of a fixed stride, so that long and short ones are mixed.
std::vector<int64_t> bench_lengths(const StepBenchOptions& options);

// Random tokens of these lengths, mean negative log-likelihood, backward, AdamW: best and median of
// the repetitions, phases, GFLOP/s (6 a matmul weight and token) and the peak of at::linear on
// 2048^3 in the same dtype, measured in the same run before and after. Workers of a group share the
// sequences: phases are then the slowest worker's, and communication is told apart (seconds waited
// for, seconds under way, the share of those that compute hid, bytes of all workers); the result is
// rank 0's. Throws UserError where the model cannot be loaded.
data::Json bench_step(const StepBenchOptions& options, distributed::Group& group);

}  // namespace ponder::recipes
