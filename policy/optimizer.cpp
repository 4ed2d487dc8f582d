#include "policy/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include <ATen/ATen.h>

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
  b.field("max_grad_norm", o.max_grad_norm, "clip the gradients' global norm to this; 0: do not",
          {.low = 0});
}

double learning_rate_at(const OptimizerOptions& o, int64_t update, int64_t total) {
  if (update < o.warmup_steps)
    return o.learning_rate * static_cast<double>(update + 1) / static_cast<double>(o.warmup_steps);
  if (o.lr_scheduler_type == Schedule::kConstant) return o.learning_rate;
  const double begin =
      std::max(static_cast<double>(o.warmup_steps), o.decay_start * static_cast<double>(total));
  const double length = std::max(1.0, static_cast<double>(total - 1) - begin);
  const double progress = std::clamp((static_cast<double>(update) - begin) / length, 0.0, 1.0);
  const double falling = o.lr_scheduler_type == Schedule::kLinear
                             ? 1 - progress
                             : 0.5 * (1 + std::cos(std::numbers::pi * progress));
  return o.learning_rate * (o.min_lr_ratio + (1 - o.min_lr_ratio) * falling);
}

AdamW::AdamW(const std::vector<Parameter>& parameters, OptimizerOptions options)
    : options_(options) {
  for (const bool decayed : {true, false}) {
    for (const Parameter& p : parameters) {
      if (!p.trainable || (p.tensor.dim() > 1) != decayed) continue;
      names_.push_back(p.name);
      parameters_.push_back(p.tensor);
      exp_avg_.push_back(at::zeros_like(p.tensor));
      exp_avg_sq_.push_back(at::zeros_like(p.tensor));
      steps_.push_back(at::zeros({}, at::kFloat));
    }
    if (decayed) num_decayed_ = parameters_.size();
  }
}

AdamW::StepResult AdamW::step(double learning_rate) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> grads, values;
  for (at::Tensor& p : parameters_) {
    grads.push_back(p.grad().defined() ? p.grad() : at::zeros_like(p));
    values.push_back(p.detach());
    p.mutable_grad() = at::Tensor();
  }
  StepResult result;
  result.grad_norm = at::stack(at::_foreach_norm(grads)).norm().item<double>();
  if (!std::isfinite(result.grad_norm)) return result;
  if (options_.max_grad_norm > 0 && result.grad_norm > options_.max_grad_norm) {
    at::_foreach_mul_(grads, options_.max_grad_norm / (result.grad_norm + 1e-6));
  }
  at::_foreach_add_(steps_, 1);
  const auto update = [&](size_t begin, size_t end, double decay) {
    const auto part = [&](std::vector<at::Tensor>& all) {
      return std::vector<at::Tensor>(all.begin() + begin, all.begin() + end);
    };
    if (begin == end) return;
    at::_fused_adamw_(part(values), part(grads), part(exp_avg_), part(exp_avg_sq_), {},
                      part(steps_), learning_rate, options_.adam_beta1, options_.adam_beta2, decay,
                      options_.adam_epsilon, /*amsgrad=*/false,
                      /*maximize=*/false);
  };
  update(0, num_decayed_, options_.weight_decay);
  update(num_decayed_, values.size(), 0.0);
  result.applied = true;
  return result;
}

std::vector<std::pair<std::string, at::Tensor>> AdamW::state() const {
  std::vector<std::pair<std::string, at::Tensor>> out;
  for (size_t i = 0; i < names_.size(); ++i) {
    out.emplace_back("exp_avg." + names_[i], exp_avg_[i]);
    out.emplace_back("exp_avg_sq." + names_[i], exp_avg_sq_[i]);
    out.emplace_back("step." + names_[i], steps_[i]);
  }
  return out;
}

}  // namespace ponder::policy
