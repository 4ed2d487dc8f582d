// Sums gradients over the workers while backward still runs: parameters are laid in buckets in the
// order in which backward reaches them, and a full bucket's all-reduce begins at once. The method
// of PyTorch's DistributedDataParallel (Li et al., arXiv:2006.15704 §3.2).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "distributed/group.h"

namespace ponder::distributed {

class GradientReducer {
 public:
  // `parameters`: leaves that need gradients, in forward order, the same on every worker. The
  // group outlives the reducer.
  GradientReducer(Group& group, std::vector<at::Tensor> parameters,
                  int64_t bucket_bytes = 25 << 20);
  ~GradientReducer();
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  // The next backward() is the last before the update: buckets are sent as they fill. Gradients of
  // backward passes before it stay local.
  void arm();

  // Sends what backward did not reach (its gradients count as zeros), waits, and leaves each
  // parameter's grad as the sum over the workers. Without arm() it sends everything now.
  void finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ponder::distributed
