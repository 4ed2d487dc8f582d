#include "grpo/loss.h"

#include <algorithm>

#include <ATen/ATen.h>

#include "core/error.h"
#include "grpo/bounded_exp.h"
#include "grpo/entropy.h"
#include "grpo/losses/variant.h"

namespace ponder::grpo {
namespace {

void check_shapes(const LossInputs& in) {
  const at::Tensor& x = in.logprobs;
  PONDER_CHECK(x.defined() && x.dim() == 1, "[policy_loss] expected logprobs [n]");
  PONDER_CHECK(x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble,
               "[policy_loss] expected float32 or float64 logprobs, got {}",
               at::toString(x.scalar_type()));
  const auto same = [&](const at::Tensor& t, const char* name, bool required) {
    PONDER_CHECK(t.defined() || !required, "[policy_loss] {} is missing", name);
    PONDER_CHECK(!t.defined() || (t.sizes() == x.sizes() && t.scalar_type() == x.scalar_type()),
                 "[policy_loss] expected {} like logprobs ([{}], {}), got [{}] elements of {}",
                 name, x.numel(), at::toString(x.scalar_type()), t.defined() ? t.numel() : 0,
                 t.defined() ? at::toString(t.scalar_type()) : "none");
  };
  same(in.advantages, "advantages", true);
  same(in.old_logprobs, "old_logprobs", false);
  same(in.ref_logprobs, "ref_logprobs", false);
  same(in.sampling_logprobs, "sampling_logprobs", false);
  same(in.importance_ratios, "importance_ratios", false);
  same(in.entropies, "entropies", false);
}

bool corrects_sequences(const LossOptions& o) {
  return o.importance_correction == ImportanceCorrection::kSequenceTruncate ||
         o.importance_correction == ImportanceCorrection::kSequenceMask;
}

void check_options(const LossOptions& o, const LossInputs& in, const LossVariant& variant) {
  const auto want = [](bool good, const char* key, double found, const char* expected) {
    if (!good) core::throw_user("{}: found {}, expected {}", key, found, expected);
  };
  want(o.epsilon >= 0, "epsilon", o.epsilon, "0 or more");
  want(!o.epsilon_high || *o.epsilon_high >= 0, "epsilon_high", o.epsilon_high.value_or(0),
       "0 or more");
  want(!o.delta || *o.delta > 0, "delta", o.delta.value_or(0),
       "more than 0 (above 1 + epsilon_high)");
  want(o.top_entropy_quantile > 0 && o.top_entropy_quantile <= 1, "top_entropy_quantile",
       o.top_entropy_quantile, "more than 0 and at most 1");
  want(o.sapo_temperature_pos > 0, "sapo_temperature_pos", o.sapo_temperature_pos, "more than 0");
  want(o.sapo_temperature_neg > 0, "sapo_temperature_neg", o.sapo_temperature_neg, "more than 0");
  want(o.max_completion_length > 0, "max_completion_length",
       static_cast<double>(o.max_completion_length), "more than 0");
  if (variant.applies_importance_ratios && in.importance_ratios.defined() &&
      corrects_sequences(o)) {
    core::throw_user(
        "importance_correction: loss_type '{}' weighs whole sequences itself, expected "
        "token_truncate or token_mask",
        variant.name);
  }
  PONDER_CHECK(o.beta == 0 || in.ref_logprobs.defined(),
               "[policy_loss] beta is {} but ref_logprobs are missing", o.beta);
  const bool needs_entropy = o.entropy_coef != 0 || o.top_entropy_quantile < 1;
  PONDER_CHECK(!needs_entropy || in.entropies.defined(), "[policy_loss] entropies are missing");
}

LossTerms make_terms(const LossInputs& in, const LossOptions& options, const LossVariant& variant,
                     const Segments& segments) {
  const at::Tensor old = in.old_logprobs.defined() ? in.old_logprobs : in.logprobs;
  LossTerms terms(options, segments);
  terms.logprobs = in.logprobs;
  terms.log_ratio = in.logprobs - old.detach();
  terms.advantages = in.advantages.detach();
  terms.importance_ratios = in.importance_ratios;
  if (variant.weight == WeightForm::kSequenceProduct) {
    terms.log_weight = segments.spread(segments.sum(terms.log_ratio));
  } else if (options.importance_sampling_level == ImportanceLevel::kSequence) {
    terms.log_weight = segments.spread(segments.mean(terms.log_ratio));
  } else {
    terms.log_weight = terms.log_ratio;
  }
  const bool weight_per_sequence = variant.weight == WeightForm::kSequenceProduct ||
                                   options.importance_sampling_level == ImportanceLevel::kSequence;
  terms.per_sequence = weight_per_sequence && segments.constant(terms.advantages);
  terms.weight = bounded_exp(terms.log_weight);
  if (options.top_entropy_quantile < 1) {
    const double threshold = in.normalizer.entropy_threshold.value_or(
        entropy_threshold(in.entropies, options.top_entropy_quantile));
    terms.entropy_mask = in.entropies.detach() >= threshold;
  }
  return terms;
}

// DeepSeek-V3.2 §3.1 (arXiv:2512.02556): 1 where A >= 0 or the sequence's mean log(pi_old/pi) is
// at most the threshold; pi_old is the sampler's. A token whose sampling log-prob is unknown (NaN)
// says nothing.
at::Tensor off_policy_mask(const LossInputs& in, const LossTerms& terms, double threshold) {
  at::Tensor behaviour = in.sampling_logprobs;
  if (!behaviour.defined()) behaviour = in.old_logprobs.defined() ? in.old_logprobs : in.logprobs;
  const at::Tensor drift = (behaviour - in.logprobs).detach().nan_to_num(0.0);
  const at::Tensor near = terms.segments.spread(terms.segments.mean(drift) <= threshold);
  return near.logical_or(terms.advantages >= 0);
}

at::Tensor kl_term(const LossInputs& in, const LossTerms& terms, const LossVariant& variant) {
  const LossOptions& o = terms.options;
  at::Tensor kl;
  if (variant.kl == KlForm::kSequence) {
    const Segments& s = terms.segments;
    kl = s.spread(kl_estimate(s.sum(in.logprobs), s.sum(in.ref_logprobs), o.kl_estimator));
  } else {
    kl = kl_estimate(in.logprobs, in.ref_logprobs, o.kl_estimator);
  }
  const bool corrected = o.use_bias_correction_kl && variant.kl != KlForm::kTokenPlain;
  return corrected ? kl * terms.weight : kl;
}

// sum_t c_t l_t: the reduction with its normaliser, which counts the whole update.
at::Tensor reduce(const at::Tensor& losses, const LossVariant& variant, const LossTerms& terms,
                  const Normalizer& n) {
  const Segments& s = terms.segments;
  const double sequences = std::max(n.sequences, 1.0);
  switch (variant.reduction) {
    case Reduction::kSequenceMean:
      return s.mean(losses).sum() / sequences;
    case Reduction::kSequenceSum:
      return losses.sum() / sequences;
    case Reduction::kUpdateTokens:
      return losses.sum() / std::max(n.loss_tokens, 1.0);
    case Reduction::kRolloutTokens:  // a share of the rollout's: below 1 where those are few
      return losses.sum() / (n.rollout_tokens > 0 ? n.rollout_tokens : 1.0);
    case Reduction::kFixedLength:
      break;
  }
  return losses.sum() / (sequences * static_cast<double>(terms.options.max_completion_length));
}

at::Tensor masked_and_corrected(at::Tensor losses, const LossInputs& in, const LossTerms& terms,
                                const LossVariant& variant) {
  if (terms.options.off_policy_mask_threshold) {
    losses = losses * off_policy_mask(in, terms, *terms.options.off_policy_mask_threshold);
  }
  if (terms.entropy_mask.defined() && !variant.applies_entropy_mask)
    losses = losses * terms.entropy_mask;
  if (in.importance_ratios.defined() && !variant.applies_importance_ratios)
    losses = losses * in.importance_ratios;
  return losses;
}

// The mean entropy of the tokens that train, over the whole update.
at::Tensor entropy_bonus(const LossInputs& in, const LossTerms& terms) {
  at::Tensor entropies = in.entropies;
  double tokens = in.normalizer.loss_tokens;
  if (terms.entropy_mask.defined()) {
    entropies = entropies * terms.entropy_mask;
    tokens = in.normalizer.entropy_tokens ? *in.normalizer.entropy_tokens
                                          : terms.entropy_mask.sum().item<double>();
  }
  return entropies.sum() / std::max(tokens, 1.0);
}

void common_metrics(const LossInputs& in, const LossTerms& terms, MetricCollector& metrics) {
  if (in.entropies.defined()) {
    metrics.mean("entropy", in.entropies);
    if (terms.entropy_mask.defined())
      metrics.masked_mean("entropy_active", in.entropies, terms.entropy_mask);
  }
  if (!in.sampling_logprobs.defined()) return;
  const at::Tensor old = in.old_logprobs.defined() ? in.old_logprobs : in.logprobs.detach();
  const at::Tensor difference = (old - in.sampling_logprobs).abs();
  const at::Tensor known = difference.masked_select(difference.isnan().logical_not());
  metrics.mean("sampling/sampling_logp_difference/mean", known);
  metrics.max("sampling/sampling_logp_difference/max", known);
  if (!in.importance_ratios.defined()) return;
  at::Tensor ratios = in.importance_ratios;
  if (corrects_sequences(terms.options)) {  // one ratio a sequence; an empty one's is 1
    ratios = terms.segments.mean(ratios).masked_fill(terms.segments.empty(), 1.0);
  }
  metrics.min("sampling/importance_sampling_ratio/min", ratios);
  metrics.mean("sampling/importance_sampling_ratio/mean", ratios);
  metrics.max("sampling/importance_sampling_ratio/max", ratios);
}

}  // namespace

LossResult policy_loss(const LossInputs& inputs, const LossOptions& options) {
  const LossVariant& variant = find_loss(options.loss_type);
  check_shapes(inputs);
  check_options(options, inputs, variant);
  const Segments segments(inputs.offsets, inputs.logprobs);
  const LossTerms terms = make_terms(inputs, options, variant, segments);
  MetricCollector metrics;
  at::Tensor losses =
      masked_and_corrected(variant.token_losses(terms, metrics), inputs, terms, variant);
  if (options.beta != 0) {
    const at::Tensor kl = kl_term(inputs, terms, variant);
    metrics.mean("kl", kl);
    losses = losses + options.beta * kl;
  }
  at::Tensor loss = reduce(losses, variant, terms, inputs.normalizer);
  common_metrics(inputs, terms, metrics);
  if (options.entropy_coef != 0) {
    metrics.sum("policy_loss", loss);
    metrics.max("entropy_coef", at::full_like(loss, options.entropy_coef).detach());
    loss = loss - options.entropy_coef * entropy_bonus(inputs, terms);
  }
  LossResult result{.loss = loss, .metrics = {}, .parts = metrics.read()};
  result.metrics = metric_values(result.parts);
  return result;
}

}  // namespace ponder::grpo
