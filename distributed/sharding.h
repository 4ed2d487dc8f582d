// Whole tensors, each owned by one worker: how ZeRO's first stage (Rajbhandari et al.,
// arXiv:1910.02054 §5.1) divides an optimizer's state. Knows tensors and their owners; knows no
// optimizer.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "distributed/group.h"

namespace ponder::distributed {

// The owner of each of the sizes (bytes): the largest first, each to the worker that has least. A
// function of its arguments alone.
std::vector<int> balanced_owners(const std::vector<int64_t>& sizes, int workers);

// Each owner's values, in place, on every worker. Tensors of any dtype, contiguous, of the same
// shapes everywhere; tensors[i] is owned by owners[i]. They travel together, in parts of at most
// `part_bytes` bytes (a larger tensor is a part of its own).
void broadcast_from_owners(Group& group, const std::vector<at::Tensor>& tensors,
                           const std::vector<int>& owners, int64_t part_bytes = 25 << 20);

// Each owner's values, in place, on rank 0 alone: it lists all tensors, the others at least their
// own, each worker's in the same order. They travel over the CPU, so that rank 0's may be there
// while the owners' are on their devices.
void gather_from_owners(Group& group, const std::vector<at::Tensor>& tensors,
                        const std::vector<int>& owners, int64_t part_bytes = 25 << 20);

}  // namespace ponder::distributed
