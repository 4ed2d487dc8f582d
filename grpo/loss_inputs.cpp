#include <cmath>
#include <limits>

#include <ATen/ATen.h>

#include "core/error.h"
#include "core/spelling.h"
#include "grpo/loss.h"
#include "grpo/segments.h"

namespace ponder::grpo {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct CorrectionForm {
  const char* name;
  ImportanceCorrection mode;
};

constexpr CorrectionForm kCorrections[] = {
    {"none", ImportanceCorrection::kNone},
    {"token_truncate", ImportanceCorrection::kTokenTruncate},
    {"token_mask", ImportanceCorrection::kTokenMask},
    {"sequence_truncate", ImportanceCorrection::kSequenceTruncate},
    {"sequence_mask", ImportanceCorrection::kSequenceMask}};

}  // namespace

Normalizer normalizer_of(const TrainBatch& update) {
  const auto tokens = static_cast<double>(update.num_loss_tokens);
  return {.sequences = static_cast<double>(update.num_sequences()),
          .loss_tokens = tokens,
          .rollout_tokens = tokens};
}

at::Tensor importance_ratios(const at::Tensor& old_logprobs, const at::Tensor& sampling_logprobs,
                             const std::vector<int32_t>& offsets, const LossOptions& options) {
  const ImportanceCorrection mode = options.importance_correction;
  PONDER_CHECK(mode != ImportanceCorrection::kNone,
               "[importance_ratios] no correction was asked for");
  at::NoGradGuard no_grad;
  // A token whose sampling log-prob is unknown (NaN) is not corrected.
  at::Tensor difference = (old_logprobs - sampling_logprobs).nan_to_num(0.0);
  if (mode == ImportanceCorrection::kSequenceTruncate ||
      mode == ImportanceCorrection::kSequenceMask) {
    const Segments segments(offsets, difference);
    difference = segments.spread(segments.sum(difference));
  }
  const at::Tensor ratios = difference.exp();
  const double low = options.importance_clip_min.value_or(-kInfinity),
               high = options.importance_clip_max;
  if (mode == ImportanceCorrection::kTokenTruncate ||
      mode == ImportanceCorrection::kSequenceTruncate) {
    return ratios.clamp(low, high);
  }
  return ratios.masked_fill((ratios < low).logical_or(ratios > high), 0.0);
}

LossInputs loss_inputs(const TrainBatch& batch, const at::Tensor& logprobs,
                       const Normalizer& normalizer, const LossOptions& options) {
  const at::Tensor indices = loss_indices(batch);
  const auto pick = [&](const at::Tensor& x) {
    return x.defined() ? x.index_select(0, indices) : at::Tensor();
  };
  LossInputs inputs;
  inputs.logprobs = logprobs;
  inputs.old_logprobs = pick(batch.old_logprobs);
  inputs.ref_logprobs = pick(batch.ref_logprobs);
  inputs.sampling_logprobs = pick(batch.sampling_logprobs);
  inputs.advantages = pick(batch.advantages);
  inputs.offsets = loss_offsets(batch);
  inputs.normalizer = normalizer;
  if (inputs.sampling_logprobs.defined() && options.correct_sampler) {
    const at::Tensor& old = inputs.old_logprobs.defined() ? inputs.old_logprobs : logprobs;
    inputs.importance_ratios =
        importance_ratios(old.detach(), inputs.sampling_logprobs, inputs.offsets, options);
  }
  return inputs;
}

ImportanceLevel importance_level_from(const std::string& name) {
  if (name == "token") return ImportanceLevel::kToken;
  if (name == "sequence") return ImportanceLevel::kSequence;
  core::throw_user("importance_sampling_level: unknown level '{}'{}", name,
                   core::suggestion(name, {"token", "sequence"}));
}

ImportanceCorrection importance_correction_from(const std::string& name) {
  std::vector<std::string> names;
  for (const CorrectionForm& form : kCorrections) {
    if (name == form.name) return form.mode;
    names.emplace_back(form.name);
  }
  core::throw_user("importance_correction: unknown mode '{}'{}", name,
                   core::suggestion(name, names));
}

}  // namespace ponder::grpo
