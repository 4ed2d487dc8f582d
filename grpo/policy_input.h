// A training batch as the policy takes it: each prompt once for all its completions. Knows the
// batch's layout; not the model.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "grpo/batch.h"

namespace ponder::grpo {

// Segments laid end to end. A completion's segment goes on from its prompt's: it sees the prompt,
// and its positions count on from the prompt's length.
struct PolicyInput {
  at::Tensor token_ids;             // int64 [tokens]
  at::Tensor positions;             // int64 [tokens]
  at::Tensor experts;               // int16 [tokens, ...] as the batch's, where it has them
  std::vector<int32_t> cu_seqlens;  // [segments + 1]
  std::vector<int32_t> parents;     // [segments]: the prompt's segment, -1: none
  // int64 [num_loss_tokens], in the batch's order: the token whose state predicts each loss token.
  // The first of a completion is predicted by its prompt's last, which all completions share.
  at::Tensor states;

  int64_t num_tokens() const { return cu_seqlens.back(); }
};

// Consecutive sequences of one group become a prompt and its completions; a sequence that stands
// alone stays whole. Log-probabilities and gradients are those of the sequences laid end to end, to
// rounding; the prompt's forward and backward are done once instead of once a completion.
// REQUIRES: sequences of one group begin with the same prompt_lengths tokens.
PolicyInput policy_input(const TrainBatch& batch, Prompts prompts = Prompts::kShared);

}  // namespace ponder::grpo
