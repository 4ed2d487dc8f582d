#include "policy/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include <ATen/ATen.h>

#include "core/error.h"
#include "distributed/sharding.h"

namespace ponder::policy {

void bind(core::Binder& b, OptimizerOptions& o) {
  b.field("learning_rate", o.learning_rate, "peak learning rate", {.low = 0});
  b.choice<Schedule>("lr_scheduler_type", o.lr_scheduler_type,
                     {{"constant", Schedule::kConstant},
                      {"linear", Schedule::kLinear},
                      {"cosine", Schedule::kCosine}},
                     "how the rate falls after the warm-up");
  b.field("warmup_steps", o.warmup_steps, "updates with a linearly rising rate", {.low = 0});
  b.field("decay_start", o.decay_start, "share of all updates after which the rate falls",
          {.low = 0, .high = 1});
  b.field("min_lr_ratio", o.min_lr_ratio, "the last rate as a share of the peak",
          {.low = 0, .high = 1});
  b.field("weight_decay", o.weight_decay, "decoupled decay of matrices; norms have none",
          {.low = 0});
  b.field("adam_beta1", o.adam_beta1, "AdamW", {.low = 0, .high = 0.999999});
  b.field("adam_beta2", o.adam_beta2, "AdamW", {.low = 0, .high = 0.999999});
  b.field("adam_epsilon", o.adam_epsilon, "AdamW", {.low = 0});
  b.choice<MomentsDtype>(
      "adam_moments_dtype", o.adam_moments_dtype,
      {{"float32", MomentsDtype::kFloat32}, {"bfloat16", MomentsDtype::kBFloat16}},
      "of bfloat16 weights' moments; bfloat16 (as DeepSeek-V3): 4 bytes a weight less");
  b.field("max_grad_norm", o.max_grad_norm, "clip the gradients' global norm to this; 0: do not",
          {.low = 0});
}

double learning_rate_at(const OptimizerOptions& o, int64_t update, int64_t total) {
  if (update < o.warmup_steps)
    return o.learning_rate * static_cast<double>(update) / static_cast<double>(o.warmup_steps);
  if (o.lr_scheduler_type == Schedule::kConstant) return o.learning_rate;
  const double begin =
      std::max(static_cast<double>(o.warmup_steps), o.decay_start * static_cast<double>(total));
  const double length = std::max(1.0, static_cast<double>(total) - begin);
  const double progress = std::clamp((static_cast<double>(update) - begin) / length, 0.0, 1.0);
  const double falling = o.lr_scheduler_type == Schedule::kLinear
                             ? 1 - progress
                             : 0.5 * (1 + std::cos(std::numbers::pi * progress));
  return o.learning_rate * (o.min_lr_ratio + (1 - o.min_lr_ratio) * falling);
}

AdamW::AdamW(const std::vector<Parameter>& parameters, OptimizerOptions options,
             distributed::Group* group)
    : options_(options), group_(group != nullptr && group->size() > 1 ? group : nullptr) {
  // Workers take a bucket's sums while others still come: each parameter has a buffer of its own.
  auto buffer = std::make_shared<GradientBuffer>();
  for (const bool decayed : {true, false}) {
    for (const Parameter& p : parameters) {
      if (!p.trainable || (p.tensor.dim() > 1) != decayed) continue;
      if (group_ != nullptr) buffer = std::make_shared<GradientBuffer>();
      slots_.push_back({.name = p.name,
                        .parameter = p.tensor,
                        .sum = GradientSum(p.tensor, buffer),
                        .state = {},
                        .weight_decay = decayed ? options.weight_decay : 0.0});
    }
  }
  if (group_ != nullptr) divide_(parameters);
  for (Slot& slot : slots_) {
    if (owns(slot)) slot.state = fresh_state(slot.parameter, slot.parameter.device());
  }
}

// Each slot gets an owner, and the reducer learns the order in which backward reaches them.
void AdamW::divide_(const std::vector<Parameter>& parameters) {
  std::vector<int64_t> bytes;
  for (const Slot& slot : slots_) bytes.push_back(static_cast<int64_t>(slot.parameter.nbytes()));
  const std::vector<int> owners = distributed::balanced_owners(bytes, group_->size());
  for (size_t i = 0; i < slots_.size(); ++i) slots_[i].owner = owners[i];
  std::vector<at::Tensor> leaves;
  for (const Parameter& p : parameters) {
    for (size_t i = 0; i < slots_.size(); ++i) {
      if (!slots_[i].parameter.is_same(p.tensor)) continue;
      leaves.push_back(p.tensor);
      forward_order_.push_back(i);
    }
  }
  reducer_ = std::make_unique<distributed::GradientReducer>(
      *group_, std::move(leaves),
      [this](size_t i) { return slots_[forward_order_[i]].sum.take(); });
}

AdamW::State AdamW::fresh_state(const at::Tensor& parameter, at::Device device) const {
  const auto zeros = [&](at::ScalarType dtype) {
    return at::zeros(parameter.sizes(), at::TensorOptions(dtype).device(device));
  };
  const bool low = parameter.scalar_type() == at::kBFloat16;
  const bool narrow = options_.adam_moments_dtype == MomentsDtype::kBFloat16;
  if (narrow && !low) {
    throw core::UserError(
        "adam_moments_dtype = \"bfloat16\" is for bfloat16 weights; set bf16 = true");
  }
  const at::ScalarType moments = low && !narrow ? at::kFloat : parameter.scalar_type();
  return {.exp_avg = zeros(moments),
          .exp_avg_sq = zeros(moments),
          .step = at::zeros({}, at::TensorOptions(at::kFloat).device(device)),
          .low = low ? zeros(at::kShort) : at::Tensor()};
}

namespace {

// The global norm; bfloat16's squares are added in float64, of float32 gradients LibTorch makes it.
double global_norm(const std::vector<at::Tensor>& grads) {
  std::vector<at::Tensor> plain;
  double squares = 0;
  for (const at::Tensor& g : grads) {
    if (g.scalar_type() == at::kBFloat16)
      squares += sum_of_squares(g);
    else
      plain.push_back(g);
  }
  if (plain.empty()) return std::sqrt(squares);
  const double norm = at::stack(at::_foreach_norm(plain)).norm().item<double>();
  return squares == 0 ? norm : std::sqrt(norm * norm + squares);
}

}  // namespace

void AdamW::expect_last_backward() {
  if (reducer_) reducer_->arm();
}

void AdamW::sum_gradients() {
  if (!reducer_ || !sums_.empty()) return;
  const std::vector<at::Tensor> sums = reducer_->finish();
  sums_.resize(slots_.size());
  for (size_t i = 0; i < sums.size(); ++i) sums_[forward_order_[i]] = sums[i];
}

// One a slot, zeros where there was none.
std::vector<at::Tensor> AdamW::take_gradients() {
  sum_gradients();
  if (reducer_) return std::exchange(sums_, {});
  std::vector<at::Tensor> grads;
  for (Slot& slot : slots_) {
    const at::Tensor grad = slot.sum.take();
    grads.push_back(grad.defined() ? grad : at::zeros_like(slot.parameter));
  }
  return grads;
}

AdamW::StepResult AdamW::step(double learning_rate) {
  const at::NoGradGuard no_grad;
  const std::vector<at::Tensor> grads = take_gradients();
  StepResult result;
  if (slots_.empty()) return result;
  result.grad_norm = global_norm(grads);
  if (!std::isfinite(result.grad_norm)) return result;
  const bool clip = options_.max_grad_norm > 0 && result.grad_norm > options_.max_grad_norm;
  const double scale = clip ? options_.max_grad_norm / (result.grad_norm + 1e-6) : 1.0;
  for (Slot& slot : slots_) {
    if (owns(slot)) slot.state.step.add_(1);
  }
  update_float_(grads, learning_rate, scale);
  update_masters_(grads, learning_rate, scale);
  hand_out_updates_();
  result.applied = true;
  return result;
}

void AdamW::hand_out_updates_() {
  if (group_ == nullptr) return;
  std::vector<at::Tensor> values;
  std::vector<int> owners;
  for (const Slot& slot : slots_) {
    values.push_back(slot.parameter.detach());
    owners.push_back(slot.owner);
  }
  distributed::broadcast_from_owners(*group_, values, owners);
}

void AdamW::drop_gradients() {
  take_gradients();
}

void AdamW::update_float_(const std::vector<at::Tensor>& grads, double learning_rate,
                          double scale) {
  size_t i = 0;
  while (i < slots_.size()) {
    std::vector<at::Tensor> values, used, exp_avg, exp_avg_sq, steps;
    const double decay = slots_[i].weight_decay;
    for (; i < slots_.size() && slots_[i].weight_decay == decay; ++i) {
      const Slot& slot = slots_[i];
      if (!owns(slot) || slot.state.low.defined()) continue;
      values.push_back(slot.parameter.detach());
      used.push_back(grads[i]);
      exp_avg.push_back(slot.state.exp_avg);
      exp_avg_sq.push_back(slot.state.exp_avg_sq);
      steps.push_back(slot.state.step);
    }
    if (values.empty()) continue;
    if (scale != 1.0) at::_foreach_mul_(used, scale);
    at::_fused_adamw_(values, used, exp_avg, exp_avg_sq, {}, steps, learning_rate,
                      options_.adam_beta1, options_.adam_beta2, decay, options_.adam_epsilon,
                      /*amsgrad=*/false, /*maximize=*/false);
  }
}

void AdamW::update_masters_(const std::vector<at::Tensor>& grads, double learning_rate,
                            double scale) {
  for (size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    const State& state = slot.state;
    if (!state.low.defined()) continue;
    const double count = state.step.item<double>();
    master_adamw_(slot.parameter.detach(), {state.low, state.exp_avg, state.exp_avg_sq}, grads[i],
                  {.count = static_cast<int64_t>(count),
                   .learning_rate = learning_rate,
                   .beta1 = options_.adam_beta1,
                   .beta2 = options_.adam_beta2,
                   .epsilon = options_.adam_epsilon,
                   .weight_decay = slot.weight_decay,
                   .bias_correction1 = 1 - std::pow(options_.adam_beta1, count),
                   .bias_correction2 = 1 - std::pow(options_.adam_beta2, count),
                   .grad_scale = scale});
  }
}

std::vector<std::pair<std::string, at::Tensor>> AdamW::State::named(const std::string& name) const {
  std::vector<std::pair<std::string, at::Tensor>> out = {
      {"exp_avg." + name, exp_avg}, {"exp_avg_sq." + name, exp_avg_sq}, {"step." + name, step}};
  if (low.defined()) out.emplace_back("master_low." + name, low);
  return out;
}

std::vector<std::pair<std::string, at::Tensor>> AdamW::state() const {
  std::vector<std::pair<std::string, at::Tensor>> out;
  for (const Slot& slot : slots_) {
    if (!owns(slot)) continue;
    for (auto& entry : slot.state.named(slot.name)) out.push_back(std::move(entry));
  }
  return out;
}

std::vector<std::pair<std::string, at::Tensor>> AdamW::whole_state() const {
  if (group_ == nullptr) return state();
  std::vector<std::pair<std::string, at::Tensor>> out;
  std::vector<at::Tensor> tensors;
  std::vector<int> owners;
  for (const Slot& slot : slots_) {
    if (!owns(slot) && group_->rank() != 0) continue;
    const State state = owns(slot) ? slot.state : fresh_state(slot.parameter, at::kCPU);
    for (auto& entry : state.named(slot.name)) {
      tensors.push_back(entry.second);
      owners.push_back(slot.owner);
      if (group_->rank() == 0) out.push_back(std::move(entry));
    }
  }
  distributed::gather_from_owners(*group_, tensors, owners);
  return out;
}

}  // namespace ponder::policy
