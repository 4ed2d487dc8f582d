#include "recipes/reference.h"

#include <ATen/ATen.h>

#include "recipes/batch_logprobs.h"

namespace ponder::recipes {

Reference::Reference(const GrpoOptions& options, const policy::Model& policy) : options_(options) {
  if (options.loss.beta > 0) model_ = std::make_unique<policy::Model>(policy.frozen_copy());
}

void Reference::add_logprobs(grpo::TrainBatch& batch) const {
  grpo::TrainBatch own = batch;
  own.experts = at::Tensor();  // another model: it chooses its own
  batch.ref_logprobs =
      batch_logprobs_in_parts(*model_, own, options_.temperature, options_.train_tokens_max);
}

void Reference::after_update(const policy::Model& policy, int64_t update) {
  if (!model_ || !options_.sync_ref_model || update % options_.ref_model_sync_steps != 0) return;
  const at::NoGradGuard no_grad;
  const double alpha = options_.ref_model_mixup_alpha;
  const std::vector<policy::Parameter> values = policy.merged_parameters();
  for (size_t i = 0; i < values.size(); ++i) {
    const policy::Parameter& source = values[i];
    if (!source.trainable) continue;
    at::Tensor target = model_->parameters()[i].tensor;
    target.mul_(1 - alpha).add_(source.tensor.detach(), alpha);
  }
}

policy::NamedTensors Reference::state() const {
  policy::NamedTensors out;
  if (!model_ || !options_.sync_ref_model) return out;
  for (const policy::Parameter& p : model_->parameters())
    out.emplace_back("reference." + p.name, p.tensor.detach());
  return out;
}

}  // namespace ponder::recipes
