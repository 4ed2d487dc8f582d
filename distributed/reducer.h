// Sums gradients over the workers while backward still runs: parameters are laid in buckets in the
// order in which backward reaches them, and a full bucket's all-reduce begins at once. The method
// of PyTorch's DistributedDataParallel (Li et al., arXiv:2006.15704 §3.2).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "distributed/group.h"

namespace ponder::distributed {

class GradientReducer {
 public:
  // Takes away and returns what this worker's backward passes have left for parameter i so far;
  // undefined: nothing.
  using Take = std::function<at::Tensor(size_t i)>;

  // `parameters`: leaves that need gradients, in forward order, the same on every worker. Sums of
  // bfloat16 parameters are float32. The group outlives the reducer.
  GradientReducer(Group& group, std::vector<at::Tensor> parameters, Take take,
                  int64_t bucket_bytes = 25 << 20);
  ~GradientReducer();
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  // The next backward() is the last before the update: buckets are sent as they fill. Gradients of
  // backward passes before it stay local.
  void arm();

  // Sends what backward did not reach (its gradients count as zeros), waits, and returns the sums
  // over the workers, one a parameter. Without arm() it sends everything now.
  std::vector<at::Tensor> finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ponder::distributed
