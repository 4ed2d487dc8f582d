// AdamW with global gradient clipping, and the learning-rate schedules. Knows tensors, not models.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "core/recipe.h"
#include "distributed/group.h"
#include "distributed/reducer.h"
#include "policy/master_weights.h"
#include "policy/model.h"

namespace ponder::policy {

enum class Schedule { kConstant, kLinear, kCosine };
enum class MomentsDtype { kFloat32, kBFloat16 };

// TRL's (Hugging Face TrainingArguments') names and defaults, but for learning_rate_end and
// decay_start.
struct OptimizerOptions {
  double learning_rate = 1e-6;
  Schedule lr_scheduler_type = Schedule::kConstant;
  int64_t warmup_steps = 0;  // updates with a rising rate
  double decay_start = 0;    // share of all updates after which the decay begins
  double min_lr_ratio = 0;   // the rate at the end, as a share of learning_rate
  double weight_decay = 0;   // of matrices; norms have none
  double adam_beta1 = 0.9;
  double adam_beta2 = 0.999;
  double adam_epsilon = 1e-8;
  double max_grad_norm = 1.0;  // 0: no clipping
  // Of bfloat16 parameters. DeepSeek-V3 kept its moments in bfloat16 (arXiv:2412.19437, 3.3.3): 4
  // bytes a weight less.
  MomentsDtype adam_moments_dtype = MomentsDtype::kFloat32;
};
void bind(core::Binder& b, OptimizerOptions& options);

// The rate of update `update` (from 0) of `total`, as transformers.get_scheduler has it: update u
// of the warm-up has u / warmup_steps of the peak, so the first has rate 0; the decay would reach
// its end at update `total`.
double learning_rate_at(const OptimizerOptions& options, int64_t update, int64_t total);

// AdamW (arXiv:1711.05101) over a model's trainable parameters. float32 parameters go through
// LibTorch's fused kernel; bfloat16 parameters have float32 masters (master_weights.h) and float32
// or bfloat16 moments, and their gradients are added up in float32 over micro-batches.
//
// On several workers (all make the same calls in the same order) gradients are summed over them,
// each parameter's state is kept by one worker alone, which makes its update and hands it to the
// others: ZeRO's first stage (distributed/sharding.h). One worker's results are the same bits as
// without a group.
class AdamW {
 public:
  // `group` outlives it; null: one worker. Throws UserError where bfloat16 moments are asked for
  // and a parameter is not bfloat16.
  AdamW(const std::vector<Parameter>& parameters, OptimizerOptions options,
        distributed::Group* group = nullptr);
  AdamW(const AdamW&) = delete;  // the reducer's hooks know where it is
  AdamW& operator=(const AdamW&) = delete;

  // The next backward() is the last before sum_gradients(): workers' sums begin while it runs.
  void expect_last_backward();

  // Ends the sums over the workers. step() and drop_gradients() do it where it was not done.
  void sum_gradients();

  // The gradients' global norm, taken before clipping; 0 where there are none.
  struct StepResult {
    double grad_norm = 0;
    bool applied = false;  // false: the norm is not finite and nothing was changed
  };

  // Clips, updates the parameters in place with the given rate and drops the gradients. A parameter
  // without a gradient (an expert that got no token) counts as one of zeros.
  StepResult step(double learning_rate);

  // Drops the gradients without an update.
  void drop_gradients();

  // Moments, step counts and the lower halves of master weights as named tensors, to restore in
  // place ("exp_avg." + name, ...): those that this worker keeps.
  std::vector<std::pair<std::string, at::Tensor>> state() const;

  // The same of all parameters, to be saved, on rank 0; none elsewhere. What rank 0 does not keep
  // itself are copies on the CPU. All workers call it.
  std::vector<std::pair<std::string, at::Tensor>> whole_state() const;

 private:
  struct State {
    at::Tensor exp_avg, exp_avg_sq, step;
    at::Tensor low;  // of a bfloat16 parameter: the lower halves of its masters
    std::vector<std::pair<std::string, at::Tensor>> named(const std::string& name) const;
  };
  struct Slot {
    std::string name;
    at::Tensor parameter;
    GradientSum sum;
    State state;  // undefined tensors where another worker keeps it
    double weight_decay = 0;
    int owner = 0;
  };

  State fresh_state(const at::Tensor& parameter, at::Device device) const;
  bool owns(const Slot& slot) const { return group_ == nullptr || slot.owner == group_->rank(); }
  void divide_(const std::vector<Parameter>& parameters);
  std::vector<at::Tensor> take_gradients();
  void hand_out_updates_();
  void update_float_(const std::vector<at::Tensor>& grads, double learning_rate, double scale);
  void update_masters_(const std::vector<at::Tensor>& grads, double learning_rate, double scale);

  OptimizerOptions options_;
  distributed::Group* group_;                              // null: one worker
  std::vector<Slot> slots_;                                // those with weight decay first
  std::vector<size_t> forward_order_;                      // slots as the model has them
  std::unique_ptr<distributed::GradientReducer> reducer_;  // of several workers
  std::vector<at::Tensor> sums_;                           // sum_gradients()'s, one a slot
};

}  // namespace ponder::policy
