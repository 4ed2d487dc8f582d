// Sequences of loss tokens laid end to end: sums and means over each, and values of sequences
// spread to their tokens.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ponder::grpo {

// S sequences of n tokens together; some may be empty.
class Segments {
 public:
  // `offsets` [S + 1] ascending from 0 to n. Tensors it makes are like `like` (type and device).
  // Throws InternalError when the offsets are not so.
  Segments(const std::vector<int32_t>& offsets, const at::Tensor& like);

  int64_t num_sequences() const { return num_sequences_; }
  int64_t num_tokens() const { return index_.size(0); }
  // [n] -> [S], differentiable. An empty sequence gives 0.
  at::Tensor sum(const at::Tensor& tokens) const;
  at::Tensor mean(const at::Tensor& tokens) const;
  // [S] -> [n], differentiable.
  at::Tensor spread(const at::Tensor& sequences) const;
  // [S]: tokens of each sequence, at least 1.
  const at::Tensor& lengths() const { return lengths_; }
  // bool [S]: the sequence has no token.
  const at::Tensor& empty() const { return empty_; }
  // True when `tokens` [n] has one value a sequence.
  bool constant(const at::Tensor& tokens) const;

 private:
  int64_t num_sequences_;
  at::Tensor index_;    // int64 [n]: the sequence of each token
  at::Tensor first_;    // int64 [n]: the first token of its sequence
  at::Tensor lengths_;  // [S]
  at::Tensor empty_;    // bool [S]
};

}  // namespace ponder::grpo
