#include "grpo/segments.h"

#include <algorithm>

#include <ATen/ATen.h>

#include "core/error.h"

namespace ponder::grpo {

Segments::Segments(const std::vector<int32_t>& offsets, const at::Tensor& like) {
  PONDER_CHECK(!offsets.empty() && offsets.front() == 0 && offsets.back() == like.numel() &&
                   std::is_sorted(offsets.begin(), offsets.end()),
               "[loss] expected ascending offsets from 0 to {} tokens, got {} of them, the last {}",
               like.numel(), offsets.size(), offsets.empty() ? -1 : offsets.back());
  num_sequences_ = static_cast<int64_t>(offsets.size()) - 1;
  std::vector<int64_t> index(offsets.back()), first(offsets.back());
  std::vector<double> lengths(num_sequences_);
  for (int64_t i = 0; i < num_sequences_; ++i) {
    std::fill(index.begin() + offsets[i], index.begin() + offsets[i + 1], i);
    std::fill(first.begin() + offsets[i], first.begin() + offsets[i + 1], offsets[i]);
    lengths[i] = offsets[i + 1] - offsets[i];
  }
  const auto to_device = [&](const auto& values, at::ScalarType type) {
    return at::tensor(values, at::dtype(type)).to(like.device());
  };
  index_ = to_device(index, at::kLong);
  first_ = to_device(first, at::kLong);
  const at::Tensor counts = to_device(lengths, like.scalar_type());
  lengths_ = counts.clamp_min(1);
  empty_ = counts == 0;
}

at::Tensor Segments::sum(const at::Tensor& tokens) const {
  return at::zeros({num_sequences_}, tokens.options().requires_grad(false))
      .index_add(0, index_, tokens);
}

at::Tensor Segments::mean(const at::Tensor& tokens) const {
  return sum(tokens) / lengths_;
}

at::Tensor Segments::spread(const at::Tensor& sequences) const {
  return sequences.index_select(0, index_);
}

bool Segments::constant(const at::Tensor& tokens) const {
  return at::equal(tokens, tokens.index_select(0, first_));
}

}  // namespace ponder::grpo
