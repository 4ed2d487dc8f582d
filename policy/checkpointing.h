// Activation checkpointing (arXiv:1604.06174): a part of the network keeps its input alone and is
// run again in backward. The gradients are the same bits.
#pragma once

#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ponder::policy {

// A pure function of x and of parameters that it holds: the same x gives the same bits.
using Segment = std::function<std::vector<at::Tensor>(const at::Tensor& x)>;

// segment(x), without the activations inside; where gradients are off it is just that. In backward
// the segment runs again, and the gradients of its parameters are accumulated as always. Outputs of
// integer types take no gradient.
std::vector<at::Tensor> checkpointed(const Segment& segment, const at::Tensor& x);

// Whether this thread is in a segment's first pass: gradients are off, yet what it computes must be
// what its second pass, with gradients, computes.
bool in_checkpointed_forward();

}  // namespace ponder::policy
