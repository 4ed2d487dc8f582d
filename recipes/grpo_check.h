// `ponder train --check` of a GRPO recipe: what a person should see before the first step.
#pragma once

#include <algorithm>
#include <cstdio>

#include "grpo/advantage.h"
#include "recipes/options.h"
#include "recipes/trainee.h"

namespace ponder::recipes {

// What a worker will take at its peak, in bytes.
struct MemoryForecast {
  int64_t now = 0;  // resident as it is: program, weights, moments, reference
  int64_t gradients = 0;
  int64_t cache = 0;        // of the sampler, as full as it gets
  int64_t activations = 0;  // of one forward and backward
  bool at_once = false;     // it samples while it trains; else the cache is given back before
  int64_t total() const {
    const int64_t training = gradients + activations;
    return now + (at_once ? cache + training : std::max(cache, training));
  }
};

// How long the sequences of a rollout are, tokens.
struct Lengths {
  int64_t prompt = 0;
  int64_t completion = 0;
};

// Bytes that a forward pass leaves for the backward pass, a token: measured on made-up tokens.
double activation_bytes_per_token(const policy::Model& model);

// Of one of `workers`, with prompts and completions of these lengths throughout. REQUIRES: training
// has not begun, so that what the program holds now has no gradients.
MemoryForecast forecast_memory(const GrpoRecipe& recipe, const Trainee& trainee,
                               const Lengths& lengths, double activation_bytes, int workers);

// Model, stop tokens, and the memory with completions as long as `group`'s and as long as they may
// be, of each of `workers`; warns where the tokenizer's end-of-sequence token does not stop the
// model.
void print_model(const GrpoRecipe& recipe, const Trainee& trainee, const data::Group& group,
                 int workers, std::FILE* out);

// The prompt as rendered, its tokens' number, and each completion with verdict, parts and
// advantage.
void print_group(const data::ScoredGroup& group, const grpo::Advantages& advantages,
                 std::FILE* out);

}  // namespace ponder::recipes
