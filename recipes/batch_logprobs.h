// A model's log-probabilities of the tokens that a batch trains.
#pragma once

#include "grpo/batch.h"
#include "policy/model.h"
#include "policy/ops.h"

namespace ponder::recipes {

// Log-probabilities and entropies of the batch's loss tokens, [num_loss_tokens] in its order, with
// graph unless gradients are off. A prompt's forward is done once for its group. REQUIRES:
// batch.num_loss_tokens > 0.
policy::TokenLogprobs batch_logprobs(const policy::Model& model, const grpo::TrainBatch& batch,
                                     double temperature, policy::MoeRecord* record = nullptr);

// The same without graph, laid out as the batch's tokens are: float32 [tokens], 0 outside the loss
// mask. At most `tokens_max` tokens in one forward pass.
at::Tensor batch_logprobs_in_parts(const policy::Model& model, const grpo::TrainBatch& batch,
                                   double temperature, int64_t tokens_max);

}  // namespace ponder::recipes
