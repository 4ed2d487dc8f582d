// `ponder train --check` of a GRPO recipe: what a person should see before the first step.
#pragma once

#include <cstdio>

#include "grpo/advantage.h"
#include "recipes/options.h"
#include "recipes/trainee.h"

namespace ponder::recipes {

// What a run will take at its peak, in bytes.
struct MemoryForecast {
  int64_t now = 0;          // resident as it is: program, weights, reference
  int64_t optimizer = 0;    // gradients and moments
  int64_t cache = 0;        // of the sampler, when full
  int64_t activations = 0;  // of one forward and backward
  int64_t total() const { return now + optimizer + cache + activations; }
};

// Activations are measured: a forward pass with graph over made-up tokens, scaled to the largest
// micro-batch that the recipe allows. `prompt_tokens`: of the longest prompt.
MemoryForecast forecast_memory(const GrpoRecipe& recipe, const Trainee& trainee,
                               int64_t prompt_tokens);

// Model, stop tokens, memory; warns where the tokenizer's end-of-sequence token does not stop the
// model.
void print_model(const GrpoRecipe& recipe, const Trainee& trainee, int64_t prompt_tokens,
                 std::FILE* out);

// The prompt as rendered, its tokens' number, and each completion with verdict, parts and
// advantage.
void print_group(const data::ScoredGroup& group, const grpo::Advantages& advantages,
                 std::FILE* out);

}  // namespace ponder::recipes
