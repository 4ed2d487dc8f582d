// Sampling's forward pass, by the kernels of policy/kernels: the model's own weights as they lie in
// memory, threads that divide each stage among them, no graph and no tensor operations. The same
// function as Model::forward_cached (the plain path, which the tests hold it to), and batch
// invariant: a row's result has the same bits in any batch, prompt chunks and single tokens alike.
// That is the CPU's; a model on a device has device/decoder.h's pass, in floating point alone and
// without a record of experts or multi-token prediction: UserError where these are asked for.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "policy/decode/rows.h"
#include "policy/model.h"

namespace ponder::policy {

class Decoder {
 public:
  // REQUIRES: the model outlives the decoder and stays where it is. Its weights may change in place
  // between passes, but not with `int8`: then linear maps and logits are computed from a copy of
  // the weights in 8 bits made here (one scale a row; it stands beside the model's own) and inputs
  // rounded to 8 bits (one scale a row); attention, norms and gates stay as they are.
  explicit Decoder(const Model& model, bool int8 = false);
  ~Decoder();

  // Writes the rows' features to the cache and returns the hidden states after the final norm of
  // the wanted rows, [wanted, hidden] in the model's dtype. Where `experts` is given it becomes
  // what each row's mixtures chose, [rows x mixtures x experts a token].
  at::Tensor forward(const CachedRows& rows, KvCache& cache,
                     std::vector<int16_t>* experts = nullptr);

  // Module `module` for multi-token prediction (Model::mtp_forward_cached) over the cache's layer
  // of that module; the cache is one with_mtp. Row r goes on from state[r] [hidden], the state at
  // the position before its own: features lie at the position of the row's token, one more than in
  // mtp_forward_cached for depth 0; what they are turned by differs by as much, which attention
  // does not see. Returns the states of the wanted rows, [wanted, hidden].
  at::Tensor forward_mtp(int64_t module, const CachedRows& rows, const at::Tensor& state,
                         KvCache& cache);

  // Logits of hidden states [rows, hidden]: float32 [rows, vocabulary], on the CPU. They are there
  // until the next call.
  at::Tensor logits(const at::Tensor& hidden);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ponder::policy
