#include "recipes/one_step_off.h"

#include <utility>

#include <ATen/ATen.h>

namespace ponder::recipes {
namespace {

void copy_weights(const policy::Model& from, policy::Model& to) {
  const at::NoGradGuard no_grad;
  const std::vector<policy::Parameter> values = from.merged_parameters();
  for (size_t i = 0; i < values.size(); ++i)
    at::Tensor(to.parameters()[i].tensor).copy_(values[i].tensor.detach());
}

}  // namespace

OneStepOff::OneStepOff(const GrpoRecipe& recipe, PromptSource& prompts, const Trainee& trainee,
                       const distributed::Group& group)
    : trained_(trainee.model),
      sampler_(trainee.model.frozen_copy()),
      engine_(sampler_, trainee.tokenizer, engine_options(recipe.rollout)),
      group_(group.another("sampler")),
      rollout_(recipe, prompts, trainee.tokenizer, engine_, trainee.scorer, group_) {}

OneStepOff::~OneStepOff() {
  if (under_way_.valid()) under_way_.wait();
}

Rollout OneStepOff::take(int64_t step, int64_t policy_version, const Say& say) {
  wait();
  if (!pending_) {
    copy_weights(trained_, sampler_);
    return rollout_.run(step, policy_version, say, /*may_stop=*/true);
  }
  Rollout out = std::move(*pending_);
  pending_.reset();
  return out;
}

void OneStepOff::start(int64_t step, int64_t policy_version) {
  copy_weights(trained_, sampler_);
  under_way_ = std::async(std::launch::async, [this, step, policy_version] {
    return rollout_.run(step, policy_version, [](const std::string&) {});
  });
}

void OneStepOff::wait() {
  if (under_way_.valid()) pending_ = under_way_.get();
}

void OneStepOff::restore(const data::Json& state, std::vector<OpenGroup> paused,
                         std::optional<Rollout> pending) {
  rollout_.restore(state, std::move(paused));
  pending_ = std::move(pending);
}

}  // namespace ponder::recipes
