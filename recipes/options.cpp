#include "recipes/options.h"

#include "grpo/recipe_keys.h"

namespace ponder::recipes {

void bind(core::Binder& b, DatasetOptions& o) {
  b.field("name", o.name, "chain_sums, or a JSONL file of {\"prompt\", \"answer\", ...} lines");
  b.table("chain_sums", o.chain_sums);
}

void bind(core::Binder& b, EvalOptions& o) {
  b.field("num_prompts", o.num_prompts, "held-out problems; 0: no evaluation",
          {.low = 0, .high = 1e6});
  b.field("eval_steps", o.eval_steps,
          "evaluate every so many steps, before the first and after the last", {.low = 1});
  b.field("dataset", o.dataset, "a JSONL file; empty: the task's own held-out problems");
  b.field("max_completion_length", o.max_completion_length, "tokens", {.low = 1});
}

void bind(core::Binder& b, SaveOptions& o) {
  b.field("save_steps", o.save_steps, "a checkpoint every so many steps, and after the last",
          {.low = 1});
  b.field("save_total_limit", o.save_total_limit, "the newest checkpoints that are kept",
          {.low = 1});
  b.field("completions_per_step", o.completions_per_step, "groups a step that are written down",
          {.low = 0});
}

void bind(core::Binder& b, GrpoOptions& o) {
  b.field("max_steps", o.max_steps, "rollouts, each with its updates", {.low = 1});
  b.field("prompts_per_step", o.prompts_per_step, "prompts in a rollout", {.low = 1});
  b.field("num_generations", o.num_generations, "completions of each prompt", {.low = 1});
  b.field("max_completion_length", o.max_completion_length, "tokens", {.low = 1});
  b.field("temperature", o.temperature, "of sampling, and of the log-probs that are trained",
          {.low = 0.01});
  b.field("num_iterations", o.num_iterations, "passes over each rollout", {.low = 1});
  b.field("num_mini_batches", o.num_mini_batches, "updates in each pass", {.low = 1});
  b.field("train_tokens_max", o.train_tokens_max,
          "tokens in one forward and backward; memory, not results", {.low = 1});
  b.field("mask_truncated_completions", o.mask_truncated_completions,
          "do not train on completions that were cut");
  b.field("freeze_router", o.freeze_router, "leave the experts' gate as it is");
  b.table("advantage", o.advantage);
  b.table("loss", o.loss);
}

void bind(core::Binder& b, GrpoRecipe& r) {
  b.field("stage", r.stage, "grpo");
  b.field("seed", r.seed, "of prompts and samples", {.low = 0});
  b.field("model_name_or_path", r.model_name_or_path, "a Hugging Face folder");
  b.table("dataset", r.dataset);
  b.table("reward", r.reward);
  b.table("grpo", r.grpo);
  b.table("optimizer", r.optimizer);
  b.table("eval", r.eval);
  b.table("save", r.save);
}

void bind(core::Binder& b, PretrainOptions& o) {
  b.field("max_steps", o.max_steps, "optimizer updates", {.low = 1});
  b.field("tokens_per_step", o.tokens_per_step, "tokens in a batch; the loss is divided by this",
          {.low = 64});
  b.field("prompt_loss_weight", o.prompt_loss_weight,
          "weight of tokens that a user would have written", {.low = 0});
  b.field("bias_update_rate", o.bias_update_rate, "gamma of the auxiliary-loss-free balancing",
          {.low = 0});
  b.choice<std::string>("save_dtype", o.save_dtype,
                        {{"bfloat16", "bfloat16"}, {"float32", "float32"}},
                        "of the weights in checkpoints");
  b.table("corpus", o.corpus);
}

void bind(core::Binder& b, PretrainRecipe& r) {
  b.field("stage", r.stage, "pretrain");
  b.field("seed", r.seed, "of weights, corpus and samples", {.low = 0});
  b.field("model_name_or_path", r.model_name_or_path,
          "config.json and tokenizer.json of the model to make");
  b.table("pretrain", r.pretrain);
  b.table("reward", r.reward);
  b.table("optimizer", r.optimizer);
  b.table("eval", r.eval);
  b.table("save", r.save);
}

}  // namespace ponder::recipes
