// Sampling from a model whose logits are not finite: damaged weights, or a training that diverged.
// A type of its own, so that a trainer can say which of the two it is.
#pragma once

#include <string>

#include "core/error.h"

namespace ponder::rollout {

class NotFiniteLogits : public core::RunError {
 public:
  // `where` names prompt, sample and token, without an end: "prompt 'x': ... at token 3 of sample
  // 0".
  explicit NotFiniteLogits(const std::string& where)
      : RunError(where + ": its weights or its config.json are damaged, or training has diverged"),
        where_(where) {}

  const std::string& where() const { return where_; }

 private:
  std::string where_;
};

}  // namespace ponder::rollout
