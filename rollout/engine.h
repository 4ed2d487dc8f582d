// Turns prompts into groups of completions: continuous batching over a paged cache of latents. A
// prompt is run once for its whole group; a slot is refilled the moment its completion ends. Reads
// the trainer's own weights: no copy, no sync. Knows tokens and the tokenizer; knows no rewards.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "data/types.h"
#include "policy/model.h"
#include "policy/tokenizer.h"
#include "rollout/sampler.h"

namespace ponder::rollout {

struct EngineOptions {
  int64_t max_running = 256;           // sequences decoded at once
  int64_t kv_cache_bytes = 256 << 20;  // memory of the paged cache
  int64_t block_size = 16;             // tokens
  int64_t prefill_tokens_max = 8192;   // prompt tokens in one forward pass
};

struct SampleOptions {
  TokenRule rule = {};
  int64_t num_generations = 1;          // completions of each prompt
  int64_t max_completion_length = 512;  // tokens
  uint64_t seed = 1;
  uint64_t round = 0;  // told apart: the same prompt sampled again later in a run
  std::vector<int32_t> stop_token_ids = {};  // beside the model's own end-of-sequence ids
};

// Called as each completion ends, in that order, from the thread that called generate(): (prompt's
// index, sample's index, the completion).
using OnCompletion = std::function<void(size_t, size_t, const data::Completion&)>;

class Engine {
 public:
  // REQUIRES: model and tokenizer outlive the engine; the weights do not change during generate().
  // Throws UserError where the cache's budget cannot hold a single sequence of the model's context
  // length.
  Engine(const policy::Model& model, const policy::Tokenizer& tokenizer, EngineOptions options);
  ~Engine();

  // One group a prompt, in the prompts' order. Prompts need token_ids. A sample's random numbers
  // are a pure function of (seed, prompt id, round, sample index, position). Throws UserError for a
  // prompt that leaves no room for a token.
  std::vector<data::Group> generate(const std::vector<data::Prompt>& prompts,
                                    const SampleOptions& options, int64_t policy_version = 0,
                                    const OnCompletion& on_completion = {});

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ponder::rollout
