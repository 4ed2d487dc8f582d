#include <algorithm>

#include "core/error.h"
#include "core/spelling.h"
#include "grpo/losses/variant.h"

namespace ponder::grpo {

std::span<const LossVariant* const> loss_registry() {
  static constexpr const LossVariant* kTable[] = {
      &kGrpo,    // DeepSeekMath: mean over the sequence's tokens, then over sequences
      &kR1,      // DeepSeek-R1: one ratio a sequence, the product over its tokens
      &kGspo,    // one ratio a sequence, the geometric mean over its tokens
      &kBnpo,    // mean over the update's tokens
      &kDrGrpo,  // sum over tokens, divided by a constant
      &kDapo,    // mean over the rollout's tokens, clip-higher
      &kLuspo,   // sum over the sequence's tokens
      &kCispo,   // clipped, detached weight on log pi
      &kSapo,    // a sigmoid instead of the clip
      &kVespo,   // gamma-shaped, detached sequence weight on log pi
      &kGmpo,    // geometric mean of clipped ratios
      &kRloo,    // product ratio, leave-one-out baseline
  };
  return kTable;
}

std::vector<std::string> loss_types() {
  std::vector<std::string> names;
  for (const LossVariant* variant : loss_registry()) names.emplace_back(variant->name);
  return names;
}

const LossVariant& find_loss(const std::string& loss_type) {
  const auto table = loss_registry();
  const auto found = std::find_if(table.begin(), table.end(),
                                  [&](const LossVariant* v) { return v->name == loss_type; });
  if (found == table.end()) {
    core::throw_user("loss_type: unknown loss '{}'{}", loss_type,
                     core::suggestion(loss_type, loss_types()));
  }
  return **found;
}

LossOptions paper_defaults(const std::string& loss_type) {
  LossOptions options = find_loss(loss_type).paper_defaults();
  options.loss_type = loss_type;
  return options;
}

AdvantageOptions paper_advantages(const std::string& loss_type) {
  const LossVariant& variant = find_loss(loss_type);
  return {
      .estimator = variant.estimator, .scale_rewards = variant.scale_rewards, .reward_weights = {}};
}

}  // namespace ponder::grpo
