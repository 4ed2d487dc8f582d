#include "recipes/batch_logprobs.h"

#include <ATen/ATen.h>

#include "grpo/policy_input.h"
#include "policy/device/ops.h"

namespace ponder::recipes {
namespace {

// Of the trained tokens; a completion's mask is trained whole or not at all, and what is not
// trained has ids too.
policy::KeptTokens kept_tokens(const grpo::TrainBatch& batch, const at::Tensor& trained) {
  if (!batch.kept_counts.defined()) return {};
  const at::Tensor is_trained = batch.loss_mask.repeat_interleave(batch.kept_counts);
  return {.ids = batch.kept_ids.masked_select(is_trained),
          .counts = batch.kept_counts.index_select(0, trained)};
}

}  // namespace

policy::TokenLogprobs batch_logprobs(const policy::Model& model, const grpo::TrainBatch& batch,
                                     double temperature, policy::MoeRecord* record) {
  // A balance loss is one of whole sequences.
  const bool whole = record != nullptr && record->balance.any();
  const grpo::PolicyInput input =
      grpo::policy_input(batch, whole ? grpo::Prompts::kRepeated : grpo::Prompts::kShared);
  const at::Tensor hidden = model.forward({.token_ids = input.token_ids,
                                           .positions = input.positions,
                                           .cu_seqlens = input.cu_seqlens,
                                           .parents = input.parents,
                                           .experts = input.experts},
                                          record);
  const at::Tensor trained = grpo::loss_indices(batch);
  const at::Tensor states = policy::device::moved(input.states, hidden.device());
  return policy::token_logprobs(hidden.index_select(0, states), model.output_weight(),
                                batch.token_ids.index_select(0, trained), temperature,
                                kept_tokens(batch, trained));
}

at::Tensor batch_logprobs_in_parts(const policy::Model& model, const grpo::TrainBatch& batch,
                                   double temperature, int64_t tokens_max) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> parts;
  for (const grpo::TrainBatch& micro : grpo::split(batch, tokens_max)) {
    if (micro.num_loss_tokens > 0)
      parts.push_back(batch_logprobs(model, micro, temperature).logprobs);
  }
  at::Tensor out = at::zeros_like(batch.advantages);
  if (!parts.empty()) out.index_copy_(0, grpo::loss_indices(batch), at::cat(parts));
  return out;
}

}  // namespace ponder::recipes
