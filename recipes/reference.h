// The reference policy that a KL term pulls towards: the policy as it was at the start, or
// refreshed as training goes on.
#pragma once

#include <memory>

#include "grpo/batch.h"
#include "policy/model.h"
#include "policy/safetensors.h"
#include "recipes/grpo_options.h"

namespace ponder::recipes {

class Reference {
 public:
  // A frozen copy of `policy` where loss.beta asks for one, else nothing. REQUIRES: options outlive
  // it.
  Reference(const GrpoOptions& options, const policy::Model& policy);

  explicit operator bool() const { return model_ != nullptr; }

  // Sets batch.ref_logprobs. REQUIRES: there is a reference.
  void add_logprobs(grpo::TrainBatch& batch) const;

  // To be called after each update, the first being number 1. Every ref_model_sync_steps of them,
  // where sync_ref_model says so, ref = alpha policy + (1 - alpha) ref: TRL's SyncRefModelCallback,
  // after TR-DPO (arXiv:2404.09656 eqs. 4 and 5); alpha = 1 is the refresh of DeepSeek-R1 §2.1.
  void after_update(const policy::Model& policy, int64_t update);

  // Its weights, to be saved and restored in place; empty where they are the base model's.
  policy::NamedTensors state() const;

 private:
  const GrpoOptions& options_;
  std::unique_ptr<policy::Model> model_;
};

}  // namespace ponder::recipes
