// DeepSeekMoE: shared experts, fine-grained routed experts, a sigmoid gate with group-limited top-k
// and the bias that balances load without an auxiliary loss. DeepSeek-V3 (arXiv:2412.19437) §2.1.2,
// eqs. 12-16.
#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "policy/config.h"

namespace ponder::policy {

// A SwiGLU network: down(silu(gate x) * up x). Weights [intermediate, hidden], [intermediate,
// hidden], [hidden, intermediate].
struct Mlp {
  at::Tensor gate_proj;
  at::Tensor up_proj;
  at::Tensor down_proj;
};

// x [tokens, hidden] -> [tokens, hidden].
at::Tensor mlp_forward(const Mlp& mlp, const at::Tensor& x);

// How a token's experts were chosen.
struct Routing {
  at::Tensor experts;  // int64 [tokens, num_experts_per_tok]
  at::Tensor weights;  // [tokens, num_experts_per_tok], with graph
};

struct MoeLayer {
  MoeConfig config;
  at::Tensor gate;             // [experts, hidden]
  at::Tensor correction_bias;  // float32 [experts]: e_score_correction_bias; only chooses, never
                               // weighs, has no gradient
  std::vector<Mlp> experts;
  Mlp shared;  // undefined tensors where n_shared_experts is 0
};

// Affinities sigmoid(gate x) in float32; the top experts of affinity + bias among the topk_group
// groups whose two best sum highest; weights are the affinities of the chosen, normalised to 1 if
// norm_topk_prob, times routed_scaling_factor.
Routing route(const MoeLayer& layer, const at::Tensor& x);

// x [tokens, hidden] -> [tokens, hidden]. Adds the number of tokens that each expert got to `load`
// (int64 [experts]) where that is defined.
at::Tensor moe_forward(const MoeLayer& layer, const at::Tensor& x, const at::Tensor& load);

// The balance rule: an expert with more than the mean load has its bias lowered by gamma, one with
// less raised (arXiv:2408.15664 algorithm 1, V3's gamma = 0.001). Changes correction_bias in place.
void update_balance_bias_(MoeLayer& layer, const at::Tensor& load, double gamma);

}  // namespace ponder::policy
