// Multi-token prediction over a whole training batch: which rows of which module predict what.
#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "policy/model.h"

namespace ponder::policy {

// What one module predicts: DeepSeek-V3 (arXiv:2412.19437) eqs. 21-24. Its loss is the cross
// entropy of the states' log-probabilities (token_logprobs with the model's output weight).
struct MtpStates {
  at::Tensor states;   // [rows, hidden], with graph
  at::Tensor targets;  // int64 [rows]: the predicted tokens' places in input.token_ids
};

// `hidden` is forward()'s of the same input. One entry a module whose targets exist; the rows of a
// sequence of n tokens are those with a target, n - 2 in the first module, one less in each
// further. REQUIRES: no parents (sequences stand by themselves). Loads and balance losses of the
// modules' mixtures go to `record`.
std::vector<MtpStates> mtp_states(const Model& model, const PackedInput& input,
                                  const at::Tensor& hidden, MoeRecord* record = nullptr);

}  // namespace ponder::policy
