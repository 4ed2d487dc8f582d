// The fields of a completion that have values for each token, as a table: whatever stores or sends
// completions goes by it.
#pragma once

#include <cstdint>
#include <vector>

#include "data/types.h"

namespace ponder::recipes {

template <typename V>
struct CompletionColumn {
  using Value = V;
  const char* name;
  std::vector<V> data::Completion::*field;
};

// Calls visit(column) for each.
template <typename Visit>
void for_each_column(const Visit& visit) {
  using data::Completion;
  visit(CompletionColumn<int32_t>{"token_ids", &Completion::token_ids});
  visit(CompletionColumn<float>{"logprobs", &Completion::logprobs});
  visit(CompletionColumn<float>{"sampling_logprobs", &Completion::sampling_logprobs});
  visit(CompletionColumn<int32_t>{"kept_ids", &Completion::kept_ids});
  visit(CompletionColumn<int32_t>{"kept_counts", &Completion::kept_counts});
  visit(CompletionColumn<int16_t>{"experts", &Completion::experts});
  visit(CompletionColumn<int64_t>{"token_versions", &Completion::token_versions});
}

}  // namespace ponder::recipes
