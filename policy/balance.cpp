#include "policy/balance.h"

#include <ATen/ATen.h>

#include "core/error.h"
#include "core/recipe.h"

namespace ponder::policy {
namespace {

// float32 [parts, tokens] whose row s averages over part s.
at::Tensor mean_matrix(const std::vector<int32_t>& borders, at::Device device) {
  const int64_t parts = static_cast<int64_t>(borders.size()) - 1;
  at::Tensor out = at::zeros({parts, borders.back()}, at::kFloat);
  for (int64_t s = 0; s < parts; ++s) {
    const int64_t length = borders[s + 1] - borders[s];
    if (length > 0) out[s].narrow(0, borders[s], length).fill_(1.0 / static_cast<double>(length));
  }
  return out.to(device);
}

// float32 [tokens, experts]: 1 where the token counts for the expert.
at::Tensor chosen_mask(const MoeLayer& layer, const Routing& routing) {
  const at::NoGradGuard no_grad;
  const at::Tensor scores = routing.scores.detach();
  const at::Tensor experts = layer.config.gate == Gate::kSigmoidBias
                                 ? std::get<1>(scores.topk(layer.config.num_experts_per_tok, -1))
                                 : routing.experts;
  return at::zeros_like(scores).scatter_(1, experts, 1.0);
}

double ratio(int64_t a, int64_t b) {
  return static_cast<double>(a) / static_cast<double>(b);
}

// Sequences without tokens have no loss.
std::vector<int32_t> without_empty(const std::vector<int32_t>& cu_seqlens) {
  std::vector<int32_t> borders;
  for (const int32_t border : cu_seqlens)
    if (borders.empty() || border > borders.back()) borders.push_back(border);
  return borders;
}

}  // namespace

void bind(core::Binder& b, BalanceWeights& w) {
  b.field("sequence", w.sequence, "of each sequence by itself (DeepSeek-V3: 0.0001); 0: none",
          {.low = 0});
  b.field("expert", w.expert, "of all tokens together (DeepSeek-V2: 0.003)", {.low = 0});
  b.field("device", w.device, "of the groups of experts (DeepSeek-V2: 0.05)", {.low = 0});
  b.field("communication", w.communication,
          "of the tokens that the groups receive (DeepSeek-V2: 0.02)", {.low = 0});
}

at::Tensor balance_loss(const MoeLayer& layer, const Routing& routing,
                        const std::vector<int32_t>& cu_seqlens, const BalanceWeights& weights) {
  PONDER_CHECK(weights.any(), "[balance_loss] all weights are 0");
  const MoeConfig& c = layer.config;
  const at::Tensor chosen = chosen_mask(layer, routing);  // [tokens, experts]
  const at::Tensor normalised = routing.scores / routing.scores.sum(-1, true);
  const double spread = ratio(c.n_routed_experts, c.num_experts_per_tok);
  at::Tensor loss = at::zeros({}, chosen.options());
  if (weights.sequence > 0) {
    const at::Tensor mean = mean_matrix(without_empty(cu_seqlens), chosen.device());
    const at::Tensor f = at::mm(mean, chosen) * spread, p = at::mm(mean, normalised);
    loss = loss + weights.sequence * (f * p).sum(-1).mean();
  }
  const at::Tensor f = chosen.mean(0) * spread, p = normalised.mean(0);  // [experts]
  if (weights.expert > 0) loss = loss + weights.expert * (f * p).sum();
  const at::Tensor group_p = p.view({c.n_group, -1}).sum(1);
  if (weights.device > 0)
    loss = loss + weights.device * (f.view({c.n_group, -1}).mean(1) * group_p).sum();
  if (weights.communication > 0) {
    const at::Tensor sent = chosen.view({chosen.size(0), c.n_group, -1}).amax(2);
    const at::Tensor share = sent.mean(0) * ratio(c.n_group, c.topk_group);
    loss = loss + weights.communication * (share * group_p).sum();
  }
  return loss;
}

}  // namespace ponder::policy
