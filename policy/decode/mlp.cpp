#include <cmath>
#include <limits>
#include <numeric>

#include <ATen/ATen.h>

#include "policy/decode/stages.h"

namespace ponder::policy::decode {
namespace {

// out[r] = silu(gate(x)) * up(x) for this thread's columns.
template <typename T>
void activate(const Team& team, Pass<T>& pass, const Mlp& mlp, const T* const* inputs,
              int64_t num_inputs, const Rows<T>& out, int64_t first_row) {
  auto& scratch = pass.scratch[team.thread];
  const at::Tensor &gate = mlp.gate_proj.matrix(), &up = mlp.up_proj.matrix();
  const int64_t columns = gate.size(0), depth = gate.size(1);
  float* g = scratch.panel.reserve(num_inputs * kPanelColumns);
  float* u = scratch.panel2.reserve(num_inputs * kPanelColumns);
  const auto bias = [&](const Linear& linear, int64_t begin, int64_t count, float* y) {
    if (!linear.bias.defined()) return;
    const T* b = data_of<T>(linear.bias) + begin;
    for (int64_t r = 0; r < num_inputs; ++r) {
      for (int64_t j = 0; j < count; ++j) y[r * kPanelColumns + j] += kernels::to_float(b[j]);
    }
  };
  const Operand<T> operand = make_operand(team, pass, inputs, num_inputs, depth);
  const Span share = team.share(columns, kColumnGrain);
  for (int64_t begin = share.begin; begin < share.end; begin += kPanelColumns) {
    const int64_t count = std::min(kPanelColumns, share.end - begin);
    multiply(pass, operand, data_of<T>(gate), begin, count, g);
    multiply(pass, operand, data_of<T>(up), begin, count, u);
    bias(mlp.gate_proj, begin, count, g);
    bias(mlp.up_proj, begin, count, u);
    for (int64_t r = 0; r < num_inputs; ++r)
      pass.k.swiglu(g + r * kPanelColumns, u + r * kPanelColumns, out.row(first_row + r) + begin,
                    count);
  }
}

// Groups that a row may choose from: the topk_group best, by the sum of their two best scores (V3)
// or by their best (V2); the others' scores become -infinity.
void close_groups(const MoeConfig& config, float* choice) {
  if (config.n_group <= 1) return;
  const int64_t size = config.n_routed_experts / config.n_group;
  std::vector<std::pair<float, int64_t>> groups;
  for (int64_t g = 0; g < config.n_group; ++g) {
    float first = -std::numeric_limits<float>::infinity(), second = first;
    for (int64_t e = g * size; e < (g + 1) * size; ++e) {
      second = std::max(second, std::min(first, choice[e]));
      first = std::max(first, choice[e]);
    }
    groups.emplace_back(config.gate == Gate::kSigmoidBias ? first + second : first, g);
  }
  std::stable_sort(groups.begin(), groups.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  for (size_t i = config.topk_group; i < groups.size(); ++i) {
    std::fill_n(choice + groups[i].second * size, size, -std::numeric_limits<float>::infinity());
  }
}

void softmax(float* x, int64_t count) {
  const float peak = *std::max_element(x, x + count);
  float total = 0;
  for (int64_t i = 0; i < count; ++i) total += x[i] = std::exp(x[i] - peak);
  for (int64_t i = 0; i < count; ++i) x[i] /= total;
}

// Row r's experts and their weights from its gate logits, as policy/moe.h's route().
template <typename T>
void choose(Pass<T>& pass, const MoeLayer& moe, int64_t r, float* scores) {
  const MoeConfig& config = moe.config;
  const int64_t experts = config.n_routed_experts, k = config.num_experts_per_tok;
  if (config.gate == Gate::kSoftmax) {
    softmax(scores, experts);
  } else {
    for (int64_t e = 0; e < experts; ++e) scores[e] = 1.0f / (1.0f + std::exp(-scores[e]));
  }
  std::vector<float> choice(scores, scores + experts);
  if (moe.correction_bias.defined()) {
    const float* bias = moe.correction_bias.const_data_ptr<float>();
    for (int64_t e = 0; e < experts; ++e) choice[e] += bias[e];
  }
  close_groups(config, choice.data());
  std::vector<int32_t> order(experts);
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](int32_t a, int32_t b) {
    return choice[a] != choice[b] ? choice[a] > choice[b] : a < b;
  });
  float total = 0;
  for (int64_t i = 0; i < k; ++i) total += scores[order[i]];
  const float divisor = config.norm_topk_prob ? total + 1e-20f : 1.0f;
  for (int64_t i = 0; i < k; ++i) {
    pass.chosen[r * k + i] = order[i];
    pass.chosen_weights[r * k + i] =
        scores[order[i]] / divisor * static_cast<float>(config.routed_scaling_factor);
  }
}

// The rows' copies laid out by expert; by one thread.
template <typename T>
void lay_out(Pass<T>& pass, const MoeConfig& config) {
  const int64_t k = config.num_experts_per_tok, copies = pass.num_rows * k;
  pass.expert_begin.assign(config.n_routed_experts + 1, 0);
  for (int64_t i = 0; i < copies; ++i) ++pass.expert_begin[pass.chosen[i] + 1];
  for (int64_t e = 0; e < config.n_routed_experts; ++e)
    pass.expert_begin[e + 1] += pass.expert_begin[e];
  std::vector<int64_t> next(pass.expert_begin.begin(), pass.expert_begin.end() - 1);
  for (int64_t i = 0; i < copies; ++i) {
    const int64_t at = next[pass.chosen[i]]++;
    pass.place[i] = static_cast<int32_t>(at);
    pass.expert_inputs[at] = pass.normed.row(i / k);
  }
}

template <typename T>
void record_choices(Pass<T>& pass, int64_t k) {
  if (pass.record == nullptr) return;
  for (int64_t r = 0; r < pass.num_rows; ++r) {
    const int32_t* chosen = pass.chosen.data() + r * k;
    std::copy_n(chosen, k, pass.record->data() + (r * pass.num_mixtures + pass.mixture) * k);
  }
}

template <typename T>
void route_rows(const Team& team, Pass<T>& pass, const MoeLayer& moe) {
  const int64_t experts = moe.config.n_routed_experts, hidden = pass.normed.width;
  const Span own = team.share(pass.num_rows, 1);
  if (own.begin < own.end) {
    float* scores = pass.gate_scores.get() + own.begin * experts;
    pass.k.linear(pass.normed.pointers.data() + own.begin, own.end - own.begin,
                  data_of<T>(moe.gate), hidden, scores, experts, 0, experts);
    for (int64_t r = own.begin; r < own.end; ++r)
      choose(pass, moe, r, scores + (r - own.begin) * experts);
  }
  Team::wait();
  if (team.thread == 0) {
    lay_out(pass, moe.config);
    record_choices(pass, moe.config.num_experts_per_tok);
    ++pass.mixture;
  }
  Team::wait();
}

// x += weighted sum of the row's experts' outputs, for columns [begin, end), rounded as
// policy/moe.h's moe_forward rounds.
template <typename T>
void gather(Pass<T>& pass, const MoeLayer& moe, Span columns, const Rows<T>* shared) {
  const int64_t k = moe.config.num_experts_per_tok, count = columns.end - columns.begin;
  std::vector<float> sum(count);
  for (int64_t r = 0; r < pass.num_rows; ++r) {
    std::fill(sum.begin(), sum.end(), 0.0f);
    for (int64_t i = 0; i < k; ++i) {
      const T* out = pass.expert_out.row(pass.place[r * k + i]) + columns.begin;
      const float weight =
          kernels::to_float(kernels::from_float<T>(pass.chosen_weights[r * k + i]));
      for (int64_t j = 0; j < count; ++j) sum[j] += weight * kernels::to_float(out[j]);
    }
    if (shared != nullptr) {
      const T* out = shared->row(r) + columns.begin;
      for (int64_t j = 0; j < count; ++j)
        sum[j] = kernels::to_float(kernels::from_float<T>(sum[j])) + kernels::to_float(out[j]);
    }
    pass.k.add(pass.x.row(r) + columns.begin, sum.data(), count);
  }
}

}  // namespace

template <typename T>
void mlp_stage(const Team& team, Pass<T>& pass, const Mlp& mlp) {
  activate(team, pass, mlp, pass.normed.pointers.data(), pass.num_rows, pass.activated, 0);
  Team::wait();
  add_projection(team, pass, mlp.down_proj, pass.activated.pointers.data());
}

template <typename T>
void mlp_stage(const Team& team, Pass<T>& pass, const MoeLayer& moe) {
  route_rows(team, pass, moe);
  const bool has_shared = moe.shared.gate_proj.defined();
  const auto& begin = pass.expert_begin;
  for (size_t e = 0; e < moe.experts.size(); ++e) {
    if (begin[e + 1] == begin[e]) continue;
    activate(team, pass, moe.experts[e], pass.expert_inputs.data() + begin[e],
             begin[e + 1] - begin[e], pass.activated, begin[e]);
  }
  if (has_shared) {
    activate(team, pass, moe.shared, pass.normed.pointers.data(), pass.num_rows,
             pass.shared_activated, 0);
  }
  Team::wait();
  for (size_t e = 0; e < moe.experts.size(); ++e) {
    if (begin[e + 1] == begin[e]) continue;
    project(team, pass, moe.experts[e].down_proj, pass.activated.pointers.data() + begin[e],
            begin[e + 1] - begin[e], pass.expert_out, 0, begin[e]);
  }
  if (has_shared) {
    // The normed rows are read no more: they take the shared experts' outputs.
    project(team, pass, moe.shared.down_proj, pass.shared_activated.pointers.data(), pass.num_rows,
            pass.normed, 0);
  }
  gather(pass, moe, team.share(pass.x.width, 8), has_shared ? &pass.normed : nullptr);
}

template void mlp_stage(const Team&, Pass<float>&, const Mlp&);
template void mlp_stage(const Team&, Pass<kernels::Bf16>&, const Mlp&);
template void mlp_stage(const Team&, Pass<float>&, const MoeLayer&);
template void mlp_stage(const Team&, Pass<kernels::Bf16>&, const MoeLayer&);

}  // namespace ponder::policy::decode
