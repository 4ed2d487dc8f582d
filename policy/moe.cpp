#include "policy/moe.h"

#include <limits>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "policy/ops.h"

namespace ponder::policy {
namespace {

// choice [tokens, experts] with the experts outside each token's best groups at -infinity.
at::Tensor limit_to_groups(const at::Tensor& choice, const MoeConfig& config) {
  if (config.n_group == 1) return choice;
  const int64_t tokens = choice.size(0);
  const at::Tensor grouped = choice.view({tokens, config.n_group, -1});
  const at::Tensor group_scores = config.gate == Gate::kSigmoidBias
                                      ? std::get<0>(grouped.topk(2, -1)).sum(-1)
                                      : grouped.amax(-1);
  const at::Tensor chosen = std::get<1>(group_scores.topk(config.topk_group, -1));
  const at::Tensor closed = at::ones_like(group_scores, at::kBool).scatter_(1, chosen, false);
  return grouped.masked_fill(closed.unsqueeze(-1), -std::numeric_limits<float>::infinity())
      .view({tokens, -1});
}

// The tokens' copies sorted by expert: where each goes and back, and how many each expert gets.
struct Dispatch {
  at::Tensor order;             // int64 [tokens * k]: copy (token * k + j) at each sorted place
  at::Tensor inverse;           // int64 [tokens * k]: sorted place of each copy
  std::vector<int64_t> counts;  // [experts]
};

// The same order on a device; the counts come back to the host.
Dispatch dispatch_on_device(const at::Tensor& experts, int64_t num_experts) {
  const at::Tensor flat = experts.flatten();
  const at::Tensor order = flat.argsort(/*stable=*/true, /*dim=*/0);
  const at::Tensor inverse =
      at::empty_like(order).index_copy_(0, order, at::arange(order.size(0), order.options()));
  const at::Tensor counts = at::bincount(flat, /*weights=*/{}, num_experts).to(at::kCPU);
  const int64_t* data = counts.const_data_ptr<int64_t>();
  return {order, inverse, {data, data + num_experts}};
}

// Counting sort, stable: equal inputs give equal orders, whatever the number of threads.
Dispatch dispatch(const at::Tensor& experts, int64_t num_experts) {
  if (!experts.is_cpu()) return dispatch_on_device(experts, num_experts);
  const at::Tensor flat = experts.contiguous();
  const int64_t copies = flat.numel();
  const int64_t* expert = flat.const_data_ptr<int64_t>();
  Dispatch out{at::empty({copies}, at::kLong), at::empty({copies}, at::kLong),
               std::vector<int64_t>(num_experts, 0)};
  for (int64_t i = 0; i < copies; ++i) ++out.counts[expert[i]];
  std::vector<int64_t> next(num_experts, 0);
  for (int64_t e = 1; e < num_experts; ++e) next[e] = next[e - 1] + out.counts[e - 1];
  int64_t *order = out.order.data_ptr<int64_t>(), *inverse = out.inverse.data_ptr<int64_t>();
  for (int64_t i = 0; i < copies; ++i) {
    const int64_t place = next[expert[i]]++;
    order[place] = i;
    inverse[i] = place;
  }
  return out;
}

// `chosen` with the recorded experts in place of those of tokens that have a record.
at::Tensor replay(const at::Tensor& recorded, const at::Tensor& choice, const at::Tensor& chosen) {
  const at::Tensor has_record = recorded.select(1, 0).ge(0).unsqueeze(1);
  const at::Tensor experts = recorded.to(at::kLong).clamp_min(0);
  const at::Tensor order =
      choice.gather(1, experts).argsort(/*stable=*/true, /*dim=*/1, /*descending=*/true);
  return at::where(has_record, experts.gather(1, order), chosen);
}

}  // namespace

Mlp build_mlp(ParameterMaker& make, const std::string& prefix, int64_t hidden, int64_t intermediate,
              bool bias) {
  return {.gate_proj = make.linear(prefix + "gate_proj", intermediate, hidden, bias),
          .up_proj = make.linear(prefix + "up_proj", intermediate, hidden, bias),
          .down_proj = make.linear(prefix + "down_proj", hidden, intermediate, bias)};
}

at::Tensor mlp_forward(const Mlp& mlp, const at::Tensor& x) {
  const at::Tensor gate = mlp.gate_proj(x), up = mlp.up_proj(x);
  if (mlp.down_proj.plain()) return swiglu_linear(gate, up, mlp.down_proj.weight);
  return mlp.down_proj(swiglu(gate, up));
}

MoeLayer build_moe(ParameterMaker& make, const ModelConfig& config, const std::string& prefix) {
  const MoeConfig& c = config.moe;
  const int64_t hidden = config.hidden_size;
  MoeLayer layer;
  layer.config = c;
  layer.gate = make.weight(prefix + "gate.weight", {c.n_routed_experts, hidden});
  if (c.gate == Gate::kSigmoidBias) {
    layer.correction_bias =
        make.buffer(prefix + "gate.e_score_correction_bias", {c.n_routed_experts});
  }
  for (int64_t e = 0; e < c.n_routed_experts; ++e) {
    layer.experts.push_back(build_mlp(make, fmt::format("{}experts.{}.", prefix, e), hidden,
                                      c.moe_intermediate_size, /*bias=*/false));
  }
  if (c.n_shared_experts > 0) {
    layer.shared = build_mlp(make, prefix + "shared_experts.", hidden,
                             c.n_shared_experts * c.moe_intermediate_size, config.mlp_bias);
  }
  return layer;
}

Routing route(const MoeLayer& layer, const at::Tensor& x, const at::Tensor& replayed) {
  const MoeConfig& config = layer.config;
  const at::Tensor logits = at::linear(x.to(at::kFloat), layer.gate.to(at::kFloat));
  Routing routing;
  routing.scores =
      config.gate == Gate::kSigmoidBias ? at::sigmoid(logits) : at::softmax(logits, -1);
  {
    const at::NoGradGuard no_grad;
    at::Tensor choice = routing.scores.detach();
    if (layer.correction_bias.defined()) choice = choice + layer.correction_bias;
    routing.experts = std::get<1>(limit_to_groups(choice, config)
                                      .topk(config.num_experts_per_tok, -1, true, /*sorted=*/true));
    if (replayed.defined()) routing.experts = replay(replayed, choice, routing.experts);
  }
  at::Tensor weights = routing.scores.gather(1, routing.experts);
  if (config.norm_topk_prob) weights = weights / (weights.sum(-1, true) + 1e-20);
  routing.weights = weights * config.routed_scaling_factor;
  return routing;
}

at::Tensor moe_forward(const MoeLayer& layer, const at::Tensor& x, const Routing& routing) {
  const int64_t copies = layer.config.num_experts_per_tok;
  const Dispatch plan = dispatch(routing.experts, layer.config.n_routed_experts);
  const at::Tensor spread = spread_rows(x, plan.order, plan.inverse, copies);
  std::vector<at::Tensor> parts;
  int64_t begin = 0;
  for (size_t e = 0; e < layer.experts.size(); ++e) {
    if (plan.counts[e] == 0) continue;
    parts.push_back(mlp_forward(layer.experts[e], spread.narrow(0, begin, plan.counts[e])));
    begin += plan.counts[e];
  }
  at::Tensor out =
      gather_rows(at::cat(parts), routing.weights.to(x.scalar_type()), plan.order, plan.inverse);
  if (layer.shared.gate_proj.defined()) out = out + mlp_forward(layer.shared, x);
  return out;
}

at::Tensor moe_forward_fixed(const MoeLayer& layer, const at::Tensor& x, const Routing& routing) {
  const at::NoGradGuard no_grad;
  // [tokens, experts]
  const at::Tensor weights = at::zeros_like(routing.scores)
                                 .scatter_(1, routing.experts, routing.weights)
                                 .to(x.scalar_type());
  at::Tensor out = at::zeros_like(x);
  for (size_t e = 0; e < layer.experts.size(); ++e) {
    out.addcmul_(mlp_forward(layer.experts[e], x), weights.narrow(1, static_cast<int64_t>(e), 1));
  }
  return layer.shared.gate_proj.defined() ? out + mlp_forward(layer.shared, x) : out;
}

at::Tensor expert_load(const MoeLayer& layer, const Routing& routing) {
  return at::bincount(routing.experts.flatten(), /*weights=*/{}, layer.config.n_routed_experts);
}

void update_balance_bias_(MoeLayer& layer, const at::Tensor& load, double gamma) {
  if (!layer.correction_bias.defined()) return;
  const at::NoGradGuard no_grad;
  const at::Tensor loads = load.to(layer.correction_bias.device(), at::kFloat);
  layer.correction_bias.add_((loads.mean() - loads).sign_(), gamma);
}

}  // namespace ponder::policy
