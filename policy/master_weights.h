// bfloat16 parameters with float32 master copies, at 2 bytes more a weight instead of 4: a master's
// upper 16 bits, rounded to nearest, are the parameter itself, and the lower 16 bits stand beside
// it as a signed distance. Knows tensors, not optimizers' options.
#pragma once

#include <cstdint>
#include <memory>

#include <ATen/core/Tensor.h>

namespace ponder::policy {

// Where the sums of many parameters' gradients lie: one float32 buffer, there from the first
// gradient until the first sum is taken. One block of its own, because hundreds that come and go
// between activations leave memory full of holes.
class GradientBuffer {
 public:
  // Room for `count` values: its place.
  int64_t reserve(int64_t count);
  at::Tensor at(int64_t place, at::IntArrayRef shape, at::Device device);
  void release();

 private:
  int64_t size_ = 0;
  at::Tensor values_;
};

// Adds up one parameter's gradients over micro-batches, a bfloat16 parameter's in float32:
// autograd's own gradient is taken away as soon as backward has made it. REQUIRES: the parameter is
// a leaf that needs a gradient.
class GradientSum {
 public:
  GradientSum(const at::Tensor& parameter, const std::shared_ptr<GradientBuffer>& buffer);
  ~GradientSum();
  GradientSum(GradientSum&&) noexcept;
  GradientSum& operator=(GradientSum&&) noexcept;

  // The sum so far; undefined: none. Empties it. REQUIRES: all sums of a buffer are taken before a
  // further gradient comes.
  at::Tensor take();

 private:
  struct State;
  at::Tensor parameter_;
  std::shared_ptr<State> state_;  // shared with autograd's hook; null for float32 parameters
};

// AdamW's state of one bfloat16 parameter.
struct MasterState {
  at::Tensor low;      // int16, the parameter's shape: master bits = (parameter bits << 16) + low
  at::Tensor exp_avg;  // float32 or bfloat16
  at::Tensor exp_avg_sq;  // the same
};

// What one update needs beside tensors: AdamW (arXiv:1711.05101) algorithm 2 with the bias
// corrections 1 - beta^t as arguments.
struct AdamStep {
  int64_t count = 1;  // of updates with this one: bfloat16 moments are rounded with it
  double learning_rate, beta1, beta2, epsilon, weight_decay;
  double bias_correction1, bias_correction2;
  double grad_scale;  // gradients are multiplied by this first (clipping)
};

// One fused pass over the parameter's memory: gradient (bfloat16 or float32) in, master, moments
// and the rounded parameter out, in place. bfloat16 moments are computed in float32 and rounded up
// or down with the probability that makes the mean right (arXiv:1502.02551): to the nearest they
// would not move where 1 - beta2 of a change is below bfloat16's last digit. The chance is a hash
// of `count` and the weight's place: the same bits again after a resume and with any number of
// threads.
void master_adamw_(const at::Tensor& parameter, const MasterState& state, const at::Tensor& grad,
                   const AdamStep& step);

// float32 copy of the master weights.
at::Tensor master_weights(const at::Tensor& parameter, const at::Tensor& low);

// Sum of squares in float64, the same bits with any number of threads. bfloat16 or float32.
double sum_of_squares(const at::Tensor& x);

}  // namespace ponder::policy
