// The keys under [grpo] of a recipe. Names and defaults are TRL's where TRL has the option.
#pragma once

#include <cstdint>

#include "core/recipe.h"
#include "grpo/advantage.h"
#include "grpo/loss.h"
#include "policy/balance.h"

namespace ponder::recipes {

// DAPO's dynamic sampling (arXiv:2503.14476 §3.2, eq. 11); verl's names. Groups whose scores are
// all equal teach nothing: they are dropped, and more prompts are sampled until the rollout is
// full.
struct FilterGroupsOptions {
  bool enable = false;
  int64_t max_num_gen_batches = 10;  // sampling rounds a step; then it trains on what there is
};
void bind(core::Binder& b, FilterGroupsOptions& options);

struct GrpoOptions {
  int64_t max_steps = 100;  // a step is one rollout and its updates
  int64_t prompts_per_step = 16;
  int64_t num_generations = 8;
  int64_t max_completion_length = 512;  // tokens; also dr_grpo's constant
  double temperature = 1.0;
  // Of sampling alone, unless keep_sampling_mask: the log-probs that are trained are the whole
  // distribution's.
  double top_p = 1.0;
  int64_t top_k = 0;  // 0: all
  double min_p = 0.0;
  double repetition_penalty = 1.0;
  // Texts that end a completion and stay in it (transformers' name), in evaluations too.
  std::vector<std::string> stop_strings = {};
  // DeepSeek-V3.2 (arXiv:2512.02556 section 3.1). Keep Sampling Mask: what top_p, top_k and min_p
  // left is what the trained log-probs are taken over too. Keep Routing: training sends each token
  // to the experts that sampling sent it to.
  bool keep_sampling_mask = false;
  bool keep_routing = false;
  int64_t num_iterations = 1;        // passes over each rollout
  int64_t steps_per_generation = 1;  // updates in each pass, from random mini-batches
  int64_t train_tokens_max = 8192;   // tokens in one forward and backward; memory, not results
  bool mask_truncated_completions = false;
  bool freeze_router = true;        // the experts' balance bias and gate stay as they are
  policy::BalanceWeights aux_loss = {};  // of the losses that balance experts, with a free router
  // The reference policy, refreshed every so many updates: ref = alpha pi + (1 - alpha) ref.
  // Alpha 1 copies, as R1 does every 400 updates.
  bool sync_ref_model = false;
  int64_t ref_model_sync_steps = 512;
  double ref_model_mixup_alpha = 0.6;
  // loss.beta weighs the KL in the reward (verl's name; RLOO, REINFORCE++) instead of in the loss.
  bool use_kl_in_reward = false;
  // The rollout of step t + 1 is sampled, by the weights before step t's updates, while step t
  // trains.
  bool one_step_off = false;
  // Partial rollouts (Kimi k1.5, arXiv:2501.12599 §2.6.2): a completion gets so many tokens a step
  // at most; a longer one goes on in the next step under the newer policy. 0: to its end at once.
  int64_t partial_rollout_tokens = 0;
  FilterGroupsOptions filter_groups = {};
  grpo::AdvantageOptions advantage = {};
  grpo::LossOptions loss = {.importance_correction = grpo::ImportanceCorrection::kTokenTruncate};
};
void bind(core::Binder& b, GrpoOptions& options);

}  // namespace ponder::recipes
