// Multi-token prediction, DeepSeek-V3 (arXiv:2412.19437) §2.2: module d (from 0) turns the state of
// position i and the embedding of token i + d + 1 into a state that predicts token i + d + 2.
// Embedding and output weight are the model's own. As in vLLM and transformers, the state that the
// first module takes is the model's after its final norm, that of a later one is the state before
// it in the chain.
#pragma once

#include <ATen/core/Tensor.h>

#include "policy/layer.h"

namespace ponder::policy {

// The tensors model.layers.(num_hidden_layers + d).*, named as the published checkpoint names them.
struct MtpModule {
  double norm_eps = 1e-6;
  at::Tensor enorm, hnorm;  // [hidden]: norms of the embedding and of the state
  Linear eh_proj;           // [hidden, 2 hidden]: embedding first
  DecoderLayer layer;
  at::Tensor head_norm;  // [hidden]: shared_head.norm
};

MtpModule build_mtp(ParameterMaker& make, const ModelConfig& config, int64_t depth);

// embedded and state [tokens, hidden] -> eh_proj(norm(embedded), norm(state)): the layer's input.
at::Tensor mtp_input(const MtpModule& module, const at::Tensor& embedded, const at::Tensor& state);

}  // namespace ponder::policy
