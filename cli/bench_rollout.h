// `ponder bench rollout`: tokens a second of the in-process engine, and how near that is to what
// the machine can do at all, measured in the same run.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "rollout/engine.h"

namespace ponder::cli {

struct RolloutBenchOptions {
  std::filesystem::path model;
  std::string dtype = "bfloat16";             // or float32; int8: bfloat16 with products in 8 bits
  std::vector<int64_t> batches = {1, 8, 32};  // sequences, each with a prompt of its own
  int64_t prompt_tokens = 64;
  int64_t new_tokens = 128;  // of each sequence, no more and no less
  // Beside them: prompts x group sequences whose lengths are log-normal, the longest `spread` times
  // the shortest and `new_tokens` long; 0 prompts: not measured.
  int64_t prompts = 8;
  int64_t group = 8;
  double spread = 8;
  double temperature = 1;
  rollout::EngineOptions engine = {.kv_cache_bytes = int64_t{2} << 30};
  int64_t repeats = 3;  // the fastest counts
  uint64_t seed = 1;
};

// One JSON object: `machine` (threads, kernels, memory_gb_per_s, matmul_gflop_per_s), `model` (its
// size, cache bytes a token) and `runs`: seconds, tokens_per_s, and of decoding alone
// decode_tokens_per_s with memory_share (bytes of weights and cache read, over the machine's) and
// matmul_share (products with weights, over the machine's).
nlohmann::json bench_rollout(const RolloutBenchOptions& options);

// Lengths of `count` completions: quantiles of a log-normal between longest / spread and longest,
// in an order that depends on the seed alone.
std::vector<int64_t> spread_lengths(int64_t count, int64_t longest, double spread, uint64_t seed);

}  // namespace ponder::cli
