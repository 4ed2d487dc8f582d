#include "recipes/algorithms.h"

#include <algorithm>

#include "core/error.h"
#include "core/spelling.h"

namespace ponder::recipes {
namespace {

// DeepSeek-R1 §2.1 and §3.2 (arXiv:2501.12948v2): 16 completions a question, 16 random mini-batches
// a rollout, one pass, the reference replaced by the newest policy every 400 updates.
void set_r1(GrpoOptions& o) {
  o.num_generations = 16;
  o.steps_per_generation = 16;
  o.sync_ref_model = true;
  o.ref_model_sync_steps = 400;
  o.ref_model_mixup_alpha = 1.0;
}

// DAPO §3 and §4.1 (arXiv:2503.14476): dynamic sampling, the overlong filter, 16 completions, 16
// updates a rollout. (The soft overlong punishment is the reward "overlong".)
void set_dapo(GrpoOptions& o) {
  o.num_generations = 16;
  o.steps_per_generation = 16;
  o.filter_groups.enable = true;
  o.mask_truncated_completions = true;
}

// RLOO (arXiv:2402.14740) as TRL's RLOOConfig has it: the KL in the reward by k1, beta 0.05, two
// completions.
void set_rloo(GrpoOptions& o) {
  o.num_generations = 2;
  o.use_kl_in_reward = true;
  o.loss.beta = 0.05;
  o.loss.kl_estimator = grpo::KlEstimator::kK1;
}

// REINFORCE++ (arXiv:2501.03262) eqs. 8-10: PPO's clipped loss per token, the KL in the reward
// token by token; one completion a prompt, or groups for the variant with a baseline.
void set_reinforce_plus_plus(GrpoOptions& o) {
  o.loss = grpo::paper_defaults("bnpo");
  o.num_generations = 1;
  o.use_kl_in_reward = true;
  o.loss.beta = 0.01;
  o.loss.kl_estimator = grpo::KlEstimator::kK1;
  o.advantage.estimator = grpo::Estimator::kReinforcePlusPlus;
}

void set_reinforce_plus_plus_baseline(GrpoOptions& o) {
  set_reinforce_plus_plus(o);
  o.num_generations = 8;
  o.use_kl_in_reward = false;  // the paper's variant has it in the loss, by k2
  o.loss.kl_estimator = grpo::KlEstimator::kK2;
  o.advantage.estimator = grpo::Estimator::kReinforcePlusPlusBaseline;
}

struct Algorithm {
  const char* name;
  void (*set)(GrpoOptions&);
};

// What is more than a loss.
constexpr Algorithm kAlgorithms[] = {
    {"r1", set_r1},
    {"dapo", set_dapo},
    {"rloo", set_rloo},
    {"reinforce_plus_plus", set_reinforce_plus_plus},
    {"reinforce_plus_plus_baseline", set_reinforce_plus_plus_baseline}};

}  // namespace

std::vector<std::string> algorithm_names() {
  std::vector<std::string> names = {""};
  for (const std::string& loss : grpo::loss_types()) names.push_back(loss);
  for (const Algorithm& algorithm : kAlgorithms) {
    if (std::find(names.begin(), names.end(), algorithm.name) == names.end())
      names.emplace_back(algorithm.name);
  }
  return names;
}

void set_algorithm(GrpoOptions& options, const std::string& name) {
  if (name.empty()) return;
  const std::vector<std::string> names = algorithm_names(), losses = grpo::loss_types();
  const grpo::ImportanceCorrection correction = options.loss.importance_correction;
  if (std::find(names.begin(), names.end(), name) == names.end())
    core::throw_user("algorithm: unknown algorithm '{}'{}", name,
                     core::suggestion(name, {names.begin() + 1, names.end()}));
  if (std::find(losses.begin(), losses.end(), name) != losses.end()) {
    options.loss = grpo::paper_defaults(name);
    options.advantage = grpo::paper_advantages(name);
  }
  for (const Algorithm& algorithm : kAlgorithms) {
    if (name == algorithm.name) algorithm.set(options);
  }
  options.loss.importance_correction = correction;  // belongs to the sampler, not to the paper
}

}  // namespace ponder::recipes
