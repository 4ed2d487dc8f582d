#include "recipes/options.h"

#include "recipes/algorithms.h"

namespace ponder::recipes {

void bind(core::Binder& b, EvalOptions& o) {
  b.field("num_prompts", o.num_prompts, "held-out problems; 0: no evaluation",
          {.low = 0, .high = 1e6});
  b.field("eval_steps", o.eval_steps,
          "evaluate every so many steps, before the first and after the last", {.low = 1});
  b.field("dataset", o.dataset, "a file or a task; empty: the dataset's own held-out problems");
  b.field("max_completion_length", o.max_completion_length, "tokens", {.low = 1});
}

void bind(core::Binder& b, SaveOptions& o) {
  b.field("save_steps", o.save_steps, "a checkpoint every so many steps, and after the last",
          {.low = 1});
  b.field("save_total_limit", o.save_total_limit, "the newest checkpoints that are kept",
          {.low = 1});
  b.field("metric_for_best_model", o.metric_for_best_model,
          "the checkpoint where this metric is best is kept too; empty: none");
  b.field("greater_is_better", o.greater_is_better, "of that metric");
  b.field("completions_per_step", o.completions_per_step, "groups a step that are written down",
          {.low = 0});
}

void bind(core::Binder& b, TrainingOptions& o) {
  b.choice<DeviceKind>("device", o.device, {{"cpu", DeviceKind::kCpu}, {"cuda", DeviceKind::kCuda}},
                       "where the policy is; cuda: one GPU a worker (docs/GPU.md)");
  b.field("bf16", o.bf16, "bfloat16 weights with float32 master copies and moments");
  b.field("gradient_checkpointing", o.gradient_checkpointing,
          "run each layer again in backward: less memory, a third more work");
  policy::bind(b, o.lora);
}

void bind(core::Binder& b, GrpoRecipe& r) {
  b.field("stage", r.stage, "grpo");
  std::vector<std::pair<std::string, std::string>> algorithms;
  for (const std::string& name : algorithm_names()) algorithms.emplace_back(name, name);
  b.choice<std::string>("algorithm", r.algorithm, algorithms,
                        "whose options [grpo] begins with; empty: TRL's");
  b.field("seed", r.seed, "of prompts and samples", {.low = 0});
  b.field("model_name_or_path", r.model_name_or_path, "a Hugging Face folder");
  b.table("dataset", r.dataset);
  b.table("reward", r.reward);
  b.table("grpo", r.grpo);
  b.table("rollout", r.rollout);
  b.table("training", r.training);
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
  b.field("mtp_loss_weight", o.mtp_loss_weight,
          "lambda of multi-token prediction, where config.json has num_nextn_predict_layers",
          {.low = 0});
  b.choice<std::string>("save_dtype", o.save_dtype,
                        {{"bfloat16", "bfloat16"}, {"float32", "float32"}},
                        "of the weights in checkpoints");
  b.choice<policy::LinearPrecision>(
      "linear_precision", o.linear_precision,
      {{"float32", policy::LinearPrecision::kAsStored},
       {"bfloat16", policy::LinearPrecision::kBFloat16},
       {"fp8", policy::LinearPrecision::kFp8}},
      "of the layers' matrix products; fp8 is DeepSeek-V3's, emulated (docs/results/fp8.md)");
  b.table("aux_loss", o.aux_loss);
  b.table("corpus", o.corpus);
}

void bind(core::Binder& b, PretrainRecipe& r) {
  b.field("stage", r.stage, "pretrain");
  b.field("seed", r.seed, "of weights, corpus and samples", {.low = 0});
  b.field("model_name_or_path", r.model_name_or_path,
          "config.json and tokenizer.json of the model to make");
  b.table("pretrain", r.pretrain);
  b.table("training", r.training);
  b.table("reward", r.reward);
  b.table("optimizer", r.optimizer);
  b.table("eval", r.eval);
  b.table("save", r.save);
}

}  // namespace ponder::recipes
