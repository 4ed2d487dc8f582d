#include "recipes/grpo_options.h"

#include "grpo/recipe_keys.h"

namespace ponder::recipes {

void bind(core::Binder& b, FilterGroupsOptions& o) {
  b.field("enable", o.enable, "drop groups whose scores are all equal and sample others instead");
  b.field("max_num_gen_batches", o.max_num_gen_batches,
          "sampling rounds a step; then it trains on what there is", {.low = 1});
}

void bind(core::Binder& b, GrpoOptions& o) {
  // The upper bounds keep products of these, which are printed and counted, within 64 bits.
  b.field("max_steps", o.max_steps, "rollouts, each with its updates", {.low = 1, .high = 1e9});
  b.field("prompts_per_step", o.prompts_per_step, "prompts in a rollout",
          {.low = 1, .high = 100'000});
  b.field("num_generations", o.num_generations, "completions of each prompt",
          {.low = 1, .high = 10'000});
  b.field("max_completion_length", o.max_completion_length, "tokens; also dr_grpo's constant",
          {.low = 1, .high = 1e9});
  b.field("temperature", o.temperature, "of sampling, and of the log-probs that are trained",
          {.low = 0.01});
  b.field("top_p", o.top_p, "sample from the smallest set of tokens that reaches this mass",
          {.low = 1e-6, .high = 1});
  b.field("top_k", o.top_k, "sample from so many likeliest tokens; 0: all", {.low = 0});
  b.field("min_p", o.min_p, "sample from tokens at least this share as likely as the likeliest",
          {.low = 0, .high = 1});
  b.field("repetition_penalty", o.repetition_penalty,
          "of sampling: divides the logits of tokens that have come before; 1: none",
          {.low = 0.01, .high = 100});
  b.field("stop_strings", o.stop_strings, "texts that end a completion and stay in it");
  b.field("keep_sampling_mask", o.keep_sampling_mask,
          "train log-probs over the tokens that top_p, top_k and min_p left");
  b.field("keep_routing", o.keep_routing,
          "train each token through the experts that sampling chose for it");
  b.field("num_iterations", o.num_iterations, "passes over each rollout", {.low = 1, .high = 1000});
  b.field("steps_per_generation", o.steps_per_generation,
          "updates in each pass, from random mini-batches", {.low = 1, .high = 1e6});
  b.field("train_tokens_max", o.train_tokens_max,
          "tokens in one forward and backward; memory, not results", {.low = 1});
  b.field("mask_truncated_completions", o.mask_truncated_completions,
          "do not train on completions that were cut");
  b.field("freeze_router", o.freeze_router, "leave the experts' gate as it is");
  b.field("sync_ref_model", o.sync_ref_model, "refresh the reference policy as training goes on");
  b.field("ref_model_sync_steps", o.ref_model_sync_steps, "updates between two refreshes",
          {.low = 1});
  b.field("ref_model_mixup_alpha", o.ref_model_mixup_alpha,
          "the new reference's share of the policy; 1 copies it", {.low = 0, .high = 1});
  b.field("use_kl_in_reward", o.use_kl_in_reward,
          "loss.beta weighs the KL in the reward instead of in the loss");
  b.field("one_step_off", o.one_step_off,
          "sample for the next step while this one trains, with weights one step old");
  b.field("partial_rollout_tokens", o.partial_rollout_tokens,
          "new tokens of a completion a step; a longer one goes on in the next; 0: no limit",
          {.low = 0});
  // Tables follow the plain keys: in TOML what stands behind a table belongs to it.
  b.table("aux_loss", o.aux_loss);
  b.table("filter_groups", o.filter_groups);
  b.table("advantage", o.advantage);
  b.table("loss", o.loss);
}

}  // namespace ponder::recipes
