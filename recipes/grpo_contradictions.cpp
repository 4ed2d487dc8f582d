#include "recipes/grpo_contradictions.h"

#include <algorithm>

#include "core/error.h"
#include "recipes/dump.h"

namespace ponder::recipes {
namespace {

// What the engine does on the CPU alone.
void check_fits_device(const GrpoRecipe& recipe) {
  if (recipe.grpo.keep_routing)
    core::throw_user("grpo.keep_routing: not with training.device = \"cuda\": leave it out");
  if (recipe.rollout.speculation == rollout::Speculation::kMtp) {
    core::throw_user(
        "rollout.speculation: multi-token prediction does not run with training.device = "
        "\"cuda\": take prompt lookup, or none");
  }
}

void check_fits_server(const GrpoRecipe& recipe) {
  if (recipe.grpo.temperature != 1) {
    core::throw_user(
        "grpo.temperature: servers (rollout.remote.base_url) give the log-probs of temperature 1, "
        "against which a policy at {:g} cannot be corrected: set it to 1",
        recipe.grpo.temperature);
  }
  if (recipe.grpo.partial_rollout_tokens > 0) {
    core::throw_user(
        "grpo.partial_rollout_tokens: a server (rollout.remote.base_url) cannot go on with a "
        "paused "
        "completion: set it to 0");
  }
  if (recipe.grpo.keep_routing || recipe.grpo.keep_sampling_mask) {
    core::throw_user(
        "grpo.keep_routing, grpo.keep_sampling_mask: a server (rollout.remote.base_url) does not "
        "say how it sampled: leave them out");
  }
}

void check_stop_strings(const GrpoRecipe& recipe) {
  const std::vector<std::string>& stops = recipe.grpo.stop_strings;
  if (std::find(stops.begin(), stops.end(), "") != stops.end())
    core::throw_user("grpo.stop_strings: an empty one would end every completion at once");
  if (!stops.empty() && recipe.rollout.is_remote()) {
    core::throw_user(
        "grpo.stop_strings: a server (rollout.remote.base_url) cuts them off the text that is "
        "scored: leave them out");
  }
}

void check_kl_in_reward(const GrpoOptions& o) {
  if (!o.use_kl_in_reward) return;
  if (o.loss.beta == 0) {
    core::throw_user(
        "grpo.use_kl_in_reward: grpo.loss.beta, the weight of the KL, is 0: set it above 0");
  }
  if (o.advantage.estimator == grpo::Estimator::kGroup &&
      o.advantage.multi_objective_aggregation ==
          grpo::MultiObjectiveAggregation::kNormalizeThenSum) {
    core::throw_user(
        "grpo.use_kl_in_reward: there is no total that the KL could be taken from where "
        "grpo.advantage.multi_objective_aggregation is \"normalize_then_sum\": leave one of them "
        "out");
  }
}

// VESPO takes the sampler's correction into its sequence's weight token by token.
void check_vespo(const GrpoRecipe& recipe) {
  const grpo::LossOptions& loss = recipe.grpo.loss;
  const bool by_sequence =
      loss.importance_correction == grpo::ImportanceCorrection::kSequenceTruncate ||
      loss.importance_correction == grpo::ImportanceCorrection::kSequenceMask;
  if (loss.loss_type != "vespo" || !by_sequence || !loss_options(recipe).correct_sampler) return;
  core::throw_user(
      "grpo.loss.vllm_importance_sampling_mode: loss_type \"vespo\" weighs whole sequences itself: "
      "set it to \"token_truncate\" or \"token_mask\"");
}

void check_entropy(const grpo::LossOptions& loss) {
  if (!loss.use_adaptive_entropy || loss.entropy_coef_min <= loss.entropy_coef_max) return;
  core::throw_user(
      "grpo.loss.entropy_coef_min: {:g} is above grpo.loss.entropy_coef_max, {:g}: set it to at "
      "most that",
      loss.entropy_coef_min, loss.entropy_coef_max);
}

}  // namespace

void check_grpo_recipe(const GrpoRecipe& recipe) {
  if (recipe.grpo.freeze_router && recipe.grpo.aux_loss.any())
    core::throw_user("grpo.aux_loss balances what the router does: set grpo.freeze_router = false");
  check_kl_in_reward(recipe.grpo);
  check_stop_strings(recipe);
  check_vespo(recipe);
  check_entropy(recipe.grpo.loss);
  if (recipe.rollout.is_remote())
    check_fits_server(recipe);
  else if (recipe.training.device != DeviceKind::kCpu)
    check_fits_device(recipe);
}

}  // namespace ponder::recipes
