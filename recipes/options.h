// The keys of a recipe, as plain structs: one a stage. The shipped *.toml beside this file set
// them; DESIGN's rule holds: defaults < file < key=value words.
#pragma once

#include <cstdint>
#include <string>

#include "core/recipe.h"
#include "data/chain_sums.h"
#include "policy/linear.h"
#include "policy/lora.h"
#include "policy/optimizer.h"
#include "recipes/dataset_options.h"
#include "recipes/device.h"
#include "recipes/grpo_options.h"
#include "recipes/rollout_options.h"
#include "rewards/scorer.h"

namespace ponder::recipes {

struct EvalOptions {
  int64_t num_prompts = 512;  // of the held-out problems; 0: no evaluation
  int64_t eval_steps = 10;    // every so many steps, and before the first and after the last
  std::string dataset;  // a file or a task; empty: the training dataset's own held-out problems
  int64_t max_completion_length = 80;  // tokens
};
void bind(core::Binder& b, EvalOptions& options);

struct SaveOptions {
  int64_t save_steps = 1;        // a checkpoint every so many steps, and after the last
  int64_t save_total_limit = 3;  // the newest that are kept
  // A metric (eval/accuracy): the checkpoint of its best step is kept too, and checkpoints/best is
  // a link to it; empty: none. TRL's names.
  std::string metric_for_best_model;
  bool greater_is_better = true;
  int64_t completions_per_step = 4;  // groups a step whose completions are written down
};
void bind(core::Binder& b, SaveOptions& options);

// Stage "grpo": reinforcement learning from verifiable rewards.
// How a model is held while it is trained: the table [training]. Names are TRL's.
struct TrainingOptions {
  DeviceKind device = DeviceKind::kCpu;  // where weights, activations, optimizer and cache are
  bool bf16 = false;                     // bfloat16 weights, float32 masters and moments
  bool gradient_checkpointing = false;   // less memory, a third more work, the same bits
  policy::LoraOptions lora;
};
void bind(core::Binder& b, TrainingOptions& options);

struct GrpoRecipe {
  std::string stage = "grpo";
  // What [grpo] begins with: a paper's options by its name (algorithms.h); empty: TRL's defaults.
  std::string algorithm;
  int64_t seed = 1;
  std::string model_name_or_path;
  DatasetOptions dataset;
  rewards::RewardOptions reward;
  GrpoOptions grpo;
  RolloutOptions rollout;
  TrainingOptions training;
  policy::OptimizerOptions optimizer;
  EvalOptions eval;
  SaveOptions save;
};
void bind(core::Binder& b, GrpoRecipe& recipe);

// Stage "pretrain": next-token prediction on the chain sums' corpus, from fresh weights.
struct PretrainOptions {
  int64_t max_steps = 3000;
  int64_t tokens_per_step = 2048;
  double prompt_loss_weight = 0.1;      // of tokens that a user would have written
  double bias_update_rate = 0.005;      // gamma of the auxiliary-loss-free balancing
  policy::BalanceWeights aux_loss;      // of the losses that balance experts
  double mtp_loss_weight = 0.3;         // lambda of multi-token prediction, where the model has it
  std::string save_dtype = "bfloat16";  // of the weights in checkpoints
  // What the layers' projections multiply in; master weights and everything else stay float32.
  policy::LinearPrecision linear_precision = policy::LinearPrecision::kAsStored;
  data::CorpusOptions corpus;
};
void bind(core::Binder& b, PretrainOptions& options);

struct PretrainRecipe {
  std::string stage = "pretrain";
  int64_t seed = 1;
  std::string model_name_or_path;  // config.json and tokenizer.json of the model to make
  PretrainOptions pretrain;
  TrainingOptions training;
  rewards::RewardOptions reward;
  policy::OptimizerOptions optimizer;
  EvalOptions eval;
  SaveOptions save;
};
void bind(core::Binder& b, PretrainRecipe& recipe);

}  // namespace ponder::recipes
