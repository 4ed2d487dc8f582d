#include "policy/balance.h"

#include <ATen/ATen.h>

#include "core/error.h"

namespace ponder::policy {
namespace {

// float32 [parts, tokens] whose row s averages over part s.
at::Tensor mean_matrix(const std::vector<int32_t>& borders) {
  const int64_t parts = static_cast<int64_t>(borders.size()) - 1;
  at::Tensor out = at::zeros({parts, borders.back()}, at::kFloat);
  for (int64_t s = 0; s < parts; ++s) {
    const int64_t length = borders[s + 1] - borders[s];
    if (length > 0) out[s].narrow(0, borders[s], length).fill_(1.0 / static_cast<double>(length));
  }
  return out;
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

}  // namespace

at::Tensor balance_loss(const MoeLayer& layer, const Routing& routing,
                        const std::vector<int32_t>& cu_seqlens, BalanceLevel level) {
  PONDER_CHECK(level != BalanceLevel::kNone, "[balance_loss] no level");
  std::vector<int32_t> borders;
  if (level == BalanceLevel::kBatch) {
    borders = {0, cu_seqlens.back()};
  } else {
    for (const int32_t border : cu_seqlens) {  // sequences without tokens have no loss
      if (borders.empty() || border > borders.back()) borders.push_back(border);
    }
  }
  const at::Tensor mean = mean_matrix(borders);
  const double spread = static_cast<double>(layer.config.n_routed_experts) /
                        static_cast<double>(layer.config.num_experts_per_tok);
  const at::Tensor f = at::mm(mean, chosen_mask(layer, routing)).mul_(spread);
  const at::Tensor normalised = routing.scores / routing.scores.sum(-1, true);
  const at::Tensor p = at::mm(mean, normalised);
  return (f * p).sum(-1).mean();
}

}  // namespace ponder::policy
