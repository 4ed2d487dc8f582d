// DeepSeekMoE: shared experts, fine-grained routed experts and the two gates that choose among
// them. DeepSeek-V3 (arXiv:2412.19437) §2.1.2, eqs. 12-16; DeepSeek-V2 (arXiv:2405.04434) §2.2.
#pragma once

#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "policy/config.h"
#include "policy/linear.h"
#include "policy/parameters.h"

namespace ponder::policy {

// A SwiGLU network: down(silu(gate x) * up x).
struct Mlp {
  Linear gate_proj, up_proj, down_proj;
};

// The tensors PREFIXgate_proj.weight and so on.
Mlp build_mlp(ParameterMaker& make, const std::string& prefix, int64_t hidden, int64_t intermediate,
              bool bias);

// x [tokens, hidden] -> [tokens, hidden].
at::Tensor mlp_forward(const Mlp& mlp, const at::Tensor& x);

struct MoeLayer {
  MoeConfig config;
  at::Tensor gate;             // [experts, hidden]
  at::Tensor correction_bias;  // float32 [experts]: e_score_correction_bias; only chooses, never
                               // weighs, has no gradient. Undefined in V2
  std::vector<Mlp> experts;
  Mlp shared;  // undefined tensors where n_shared_experts is 0
};

MoeLayer build_moe(ParameterMaker& make, const ModelConfig& config, const std::string& prefix);

// How a token's experts were chosen.
struct Routing {
  at::Tensor scores;   // float32 [tokens, experts], with graph: sigmoid or softmax of gate x
  at::Tensor experts;  // int64 [tokens, num_experts_per_tok]
  at::Tensor weights;  // float32 [tokens, num_experts_per_tok], with graph
};

// Scores in float32. V3: the top experts of score + bias among the topk_group groups whose two best
// sum highest. V2: the top experts of the score among the topk_group groups whose best is highest.
// Weights are the scores of the chosen, normalised to 1 if norm_topk_prob, times
// routed_scaling_factor.
//
// `replayed` int16 [tokens, num_experts_per_tok], where defined: a token whose first entry is not
// -1 goes to these experts (in the order of its own preference, so that an equal choice gives equal
// bits); scores and weights, and the gradient through them, are the layer's own. "Keep Routing" of
// DeepSeek-V3.2 (arXiv:2512.02556 section 3.1).
Routing route(const MoeLayer& layer, const at::Tensor& x, const at::Tensor& replayed = {});

// x [tokens, hidden] and where it goes -> [tokens, hidden].
at::Tensor moe_forward(const MoeLayer& layer, const at::Tensor& x, const Routing& routing);

// The same without a look at where the tokens go: every expert multiplies every row, with weight 0
// where it was not chosen. No shape depends on a value, so that it may stand in a CUDA graph; for
// the few rows of a decoding step, where most experts' weights are read anyway. No gradient.
at::Tensor moe_forward_fixed(const MoeLayer& layer, const at::Tensor& x, const Routing& routing);

// Tokens that each expert gets, int64 [experts].
at::Tensor expert_load(const MoeLayer& layer, const Routing& routing);

// The balance rule: an expert with more than the mean load has its bias lowered by gamma, one with
// less raised (arXiv:2408.15664 algorithm 1, V3's gamma = 0.001). Changes correction_bias in place;
// nothing to do where there is none.
void update_balance_bias_(MoeLayer& layer, const at::Tensor& load, double gamma);

}  // namespace ponder::policy
