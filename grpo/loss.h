// The policy loss: log-probs of the loss tokens in, a scalar with its graph and TRL's metrics out.
// Takes the tokens that are trained and nothing else, laid end to end; knows no model, no prompt
// and no padding.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "grpo/advantage.h"
#include "grpo/batch.h"
#include "grpo/kl.h"
#include "grpo/loss_metrics.h"

namespace ponder::grpo {

enum class ImportanceLevel {
  kToken,     // w_t = pi/pi_old of the token
  kSequence,  // w = exp(mean_t log(pi/pi_old)), the same for all tokens of a sequence: GSPO
              // (arXiv:2507.18071) eq. 7
};

// Correction for a sampler whose probabilities are not the trainer's: each token's loss times
// pi_old/pi_sampler.
enum class ImportanceCorrection {
  kNone,
  kTokenTruncate,
  kTokenMask,
  kSequenceTruncate,
  kSequenceMask
};

// Names and defaults are TRL's where TRL has the option. paper_defaults() gives a variant's own.
struct LossOptions {
  std::string loss_type = "dapo";  // a name of the loss table: loss_types()
  ImportanceLevel importance_sampling_level = ImportanceLevel::kToken;
  double epsilon = 0.2;  // w is clipped below at 1 - epsilon
  // w is clipped above at 1 + this (cispo: at this itself); none: epsilon.
  std::optional<double> epsilon_high = std::nullopt;
  // Two-sided clip: w is capped here first (arXiv:2505.07291); none: not.
  std::optional<double> delta = std::nullopt;
  int64_t max_completion_length = 512;  // tokens; dr_grpo's constant

  double beta = 0.0;  // the KL's weight in the loss; 0: ref_logprobs is not read
  KlEstimator kl_estimator = KlEstimator::kK3;
  bool use_bias_correction_kl = true;  // w kl instead of kl: DeepSeek-V3.2 §3.1

  double entropy_coef = 0.0;  // loss -= entropy_coef * mean entropy
  // The coefficient follows a target instead (entropy.h); entropy_coef is where it starts.
  bool use_adaptive_entropy = false;
  double entropy_target = 0.2;  // nats
  double entropy_coef_delta = 0.005, entropy_coef_min = 0.0, entropy_coef_max = 1.0;
  // Train this share of the tokens, those of highest entropy (arXiv:2506.01939: 0.2).
  double top_entropy_quantile = 1.0;
  // Drop a sequence with A < 0 whose mean log(pi_old / pi) is above this (V3.2); none: keep.
  std::optional<double> off_policy_mask_threshold = std::nullopt;

  double sapo_temperature_pos = 1.0, sapo_temperature_neg = 1.05;
  double vespo_k_pos = 2.0, vespo_lambda_pos = 3.0, vespo_k_neg = 3.0, vespo_lambda_neg = 2.0;

  // TRL: vllm_importance_sampling_{correction, mode, clip_max, clip_min}; where sampling_logprobs
  // are.
  bool correct_sampler = true;
  ImportanceCorrection importance_correction = ImportanceCorrection::kSequenceMask;
  double importance_clip_max = 3.0;  // truncate: the cap; mask: a ratio above it weighs 0
  std::optional<double> importance_clip_min = std::nullopt;
};

// What the sums are divided by, counted over the whole optimizer update (all micro-batches, all
// workers), so that the losses of its parts add up to the loss of the whole.
struct Normalizer {
  double sequences = 0;    // completions of this update, those without loss tokens included
  double loss_tokens = 0;  // loss tokens of this update: bnpo, the entropy bonus
  // Loss tokens of the whole rollout / updates made from it: dapo, cispo, vespo.
  double rollout_tokens = 0;
  // With top_entropy_quantile < 1: this update's entropy threshold, and how many tokens reach it.
  // None: from the tokens of this call, right where one call sees the whole update (entropy.h).
  std::optional<double> entropy_threshold = std::nullopt;
  std::optional<double> entropy_tokens = std::nullopt;
};

// The normaliser of an update that consists of this batch alone.
Normalizer normalizer_of(const TrainBatch& update);

// n loss tokens of S sequences. float32 or float64, all alike; only logprobs and entropies may
// carry a graph.
struct LossInputs {
  at::Tensor logprobs;           // [n] nats, under the policy that is trained
  at::Tensor old_logprobs;       // [n]; undefined: on-policy, logprobs.detach()
  at::Tensor ref_logprobs;       // [n]; needed when beta != 0
  at::Tensor sampling_logprobs;  // [n]; undefined: old_logprobs are the sampler's
  at::Tensor importance_ratios;  // [n], importance_ratios()'s; undefined: no correction
  at::Tensor entropies;          // [n] nats; undefined: no entropy metric, bonus or mask
  at::Tensor advantages;         // [n]
  // [S + 1]: sequence i is tokens offsets[i] .. offsets[i + 1]; a sequence may be empty.
  std::vector<int32_t> offsets;
  Normalizer normalizer;
};

struct LossResult {
  at::Tensor loss;  // [] with graph
  // TRL's names, of the tokens of this call: kl, entropy, clip_ratio/*, sampling/* and others.
  std::map<std::string, double> metrics;
  // The same as sums, to be merged over micro-batches and workers (loss_metrics.h).
  MetricParts parts;
};

// One micro-batch's loss. Throws UserError for an unknown loss_type or an option out of range,
// InternalError for shapes.
LossResult policy_loss(const LossInputs& inputs, const LossOptions& options);

// Inputs from a batch and its tokens' log-probabilities ([num_loss_tokens], batch order):
// everything but entropies, which the caller sets. Computes importance_ratios where the batch has
// sampling_logprobs and options ask for the correction.
LossInputs loss_inputs(const TrainBatch& batch, const at::Tensor& logprobs,
                       const Normalizer& normalizer, const LossOptions& options);

// exp(old - sampling) per token, or of the sequence's sum, truncated or masked: [n], no graph.
// REQUIRES: correction is not kNone.
at::Tensor importance_ratios(const at::Tensor& old_logprobs, const at::Tensor& sampling_logprobs,
                             const std::vector<int32_t>& offsets, const LossOptions& options);

// The names of the loss table, in its order, and a variant's options as its paper has them. Unknown
// name: UserError with the nearest one.
std::vector<std::string> loss_types();
LossOptions paper_defaults(const std::string& loss_type);
AdvantageOptions paper_advantages(const std::string& loss_type);

// "token" | "sequence"; "none" | "token_truncate" | ...: UserError with the nearest name for
// another.
ImportanceLevel importance_level_from(const std::string& name);
ImportanceCorrection importance_correction_from(const std::string& name);

}  // namespace ponder::grpo
