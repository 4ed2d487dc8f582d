// Sampling's forward pass on a device: Model::forward_cached over buffers that stay where they are,
// so that a step of single tokens is captured once, as a CUDA graph, and then replayed. What goes
// in is one copy from pinned memory, what comes out one copy of logits.
#pragma once

#include <memory>

#include <ATen/core/Tensor.h>

#include "policy/decode/rows.h"
#include "policy/model.h"

namespace ponder::policy::device {

class Decoder {
 public:
  // REQUIRES: the model outlives the decoder and stays where it is; its weights may change in
  // place between passes.
  explicit Decoder(const Model& model);
  ~Decoder();
  Decoder(Decoder&&) noexcept;

  // policy::Decoder's functions. Hidden states stay on the device; valid until the next pass.
  // REQUIRES: one cache over the decoder's life, of the model's make_cache().
  at::Tensor forward(const CachedRows& rows, KvCache& cache);
  at::Tensor logits(const at::Tensor& hidden) const;

  // Steps that have been captured so far.
  int64_t num_graphs() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ponder::policy::device
