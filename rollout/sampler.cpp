#include "rollout/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "policy/kernels/kernels.h"

namespace ponder::rollout {
namespace {

namespace kernels = policy::kernels;

constexpr float kNever = -std::numeric_limits<float>::infinity();

// transformers' RepetitionPenaltyLogitsProcessor: each token of prompt and completion once.
void penalize_repetition(double penalty, const DrawContext& context, std::vector<int32_t>& ids,
                         std::vector<float>& logits) {
  if (penalty == 1.0) return;
  ids.assign(context.prompt.begin(), context.prompt.end());
  ids.insert(ids.end(), context.completion.begin(), context.completion.end());
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  const auto factor = static_cast<float>(penalty);
  for (const int32_t id : ids)
    logits[id] = logits[id] < 0 ? logits[id] * factor : logits[id] / factor;
}

// OpenAI: logit - presence * [count > 0] - frequency * count, counts in the completion.
void penalize_presence(const TokenRule& rule, const DrawContext& context, std::vector<int32_t>& ids,
                       std::vector<float>& logits) {
  if (rule.presence_penalty == 0 && rule.frequency_penalty == 0) return;
  ids.assign(context.completion.begin(), context.completion.end());
  std::sort(ids.begin(), ids.end());
  for (size_t i = 0; i < ids.size(); ++i) {
    double penalty = rule.frequency_penalty;
    if (i == 0 || ids[i - 1] != ids[i]) penalty += rule.presence_penalty;
    logits[ids[i]] -= static_cast<float>(penalty);
  }
}

// transformers' NoBadWordsLogitsProcessor: the last id of a sequence may not follow its others,
// which are looked for in prompt and completion.
bool stands_before(const std::vector<int32_t>& word, const DrawContext& context) {
  const size_t needed = word.size() - 1;
  if (needed > context.prompt.size() + context.completion.size()) return false;
  for (size_t back = 1; back <= needed; ++back) {
    const size_t completion = context.completion.size();
    const int32_t id = back <= completion
                           ? context.completion[completion - back]
                           : context.prompt[context.prompt.size() - (back - completion)];
    if (id != word[needed - back]) return false;
  }
  return true;
}

void forbid(const TokenRule& rule, const DrawContext& context, std::vector<float>& logits) {
  for (const std::vector<int32_t>& word : rule.bad_words) {
    if (!word.empty() && static_cast<size_t>(word.back()) < logits.size() &&
        stands_before(word, context))
      logits[word.back()] = kNever;
  }
  for (const int32_t id : context.forbidden) logits[id] = kNever;
}

// The logits as everything before the temperature leaves them; `logits` itself where nothing does.
std::span<const float> processed(std::span<const float> logits, const TokenRule& rule,
                                 const DrawContext& context, DrawScratch& scratch) {
  if (!rule.changes_logits() && context.forbidden.empty()) return logits;
  std::vector<float>& out = scratch.logits;
  out.assign(logits.begin(), logits.end());
  for (const auto& [id, bias] : rule.logit_bias) {
    if (static_cast<size_t>(id) < out.size()) out[id] += bias;
  }
  penalize_repetition(rule.repetition_penalty, context, scratch.ids, out);
  penalize_presence(rule, context, scratch.ids, out);
  forbid(rule, context, out);
  if (std::all_of(out.begin(), out.end(), [](float x) { return x == kNever; }))
    out.assign(logits.begin(), logits.end());
  return out;
}

// weights = exp((logit - peak) / temperature), with their sums by blocks and in all.
struct Weights {
  float peak = 0, scale = 1;
  double total = 0;
  float log_of(float logit) const {
    return scale * (logit - peak) - static_cast<float>(std::log(total));
  }
};

Weights weigh(std::span<const float> logits, double temperature, std::vector<float>& weights,
              std::vector<float>& sums) {
  const kernels::Table& table = kernels::best();
  const auto count = static_cast<int64_t>(logits.size());
  Weights out;
  out.peak = table.max_of(logits.data(), count);
  // A temperature too small for float32 is greedy, and no infinity times 0.
  constexpr double kScaleMax = std::numeric_limits<float>::max();
  out.scale = temperature == 0 ? 1.0f : static_cast<float>(std::min(1.0 / temperature, kScaleMax));
  weights.resize(count);
  sums.resize(count / kernels::kSumBlock + 1);
  out.total =
      table.exp_weights(logits.data(), count, out.scale, out.peak, weights.data(), sums.data());
  return out;
}

// Weights in classes of 1/16 of a power of two, the greatest (1) in class 0: what lies below a
// border is found without sorting the vocabulary.
constexpr int kClasses = 16 * 128;
int class_of(float weight) {
  const auto bits = __builtin_bit_cast(uint32_t, weight);
  return std::clamp(static_cast<int>((0x3f800000U + 0x7ffffU - bits) >> 19), 0, kClasses - 1);
}

// The class in which the running sum of measure(weight) from the greatest weights on first reaches
// `limit`; `before` becomes the sum of the classes before it.
template <typename Measure>
int border_class(const std::vector<float>& weights, double limit, double& before,
                 const Measure& measure) {
  std::array<double, kClasses> sums = {};
  for (const float weight : weights) {
    if (weight > 0) sums[class_of(weight)] += measure(weight);
  }
  before = 0;
  for (int c = 0; c < kClasses; ++c) {
    if (before + sums[c] >= limit) return c;
    before += sums[c];
  }
  return kClasses - 1;
}

// Ids of the weights of a class, the greatest first, equal ones in id order.
void sort_class(const std::vector<float>& weights, int wanted, std::vector<int32_t>& ids) {
  ids.clear();
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] > 0 && class_of(weights[i]) == wanted) ids.push_back(static_cast<int32_t>(i));
  }
  std::stable_sort(ids.begin(), ids.end(),
                   [&](int32_t a, int32_t b) { return weights[a] > weights[b]; });
}

// transformers' TopKLogitsWarper: what is below the k-th greatest goes; its equals stay.
void keep_top_k(int64_t k, std::vector<float>& weights, std::vector<int32_t>& ids) {
  if (k <= 0 || k >= static_cast<int64_t>(weights.size())) return;
  double before = 0;
  const int border =
      border_class(weights, static_cast<double>(k), before, [](float) { return 1.0; });
  sort_class(weights, border, ids);
  const auto place = static_cast<size_t>(static_cast<double>(k) - before) - 1;
  if (place >= ids.size()) return;  // fewer than k are possible at all
  const float least = weights[ids[place]];
  for (float& weight : weights) {
    if (weight < least) weight = 0;
  }
}

// The most likely tokens until their mass reaches top_p of the whole (TopPLogitsWarper).
void keep_top_p(double top_p, double total, std::vector<float>& weights,
                std::vector<int32_t>& ids) {
  if (top_p >= 1.0) return;
  const double limit = top_p * total;
  double mass = 0;
  const int border = border_class(weights, limit, mass, [](float w) { return double{w}; });
  sort_class(weights, border, ids);
  size_t kept = 0;
  while (kept < ids.size() && (kept == 0 || mass < limit)) mass += weights[ids[kept++]];
  for (size_t i = kept; i < ids.size(); ++i) weights[ids[i]] = 0;
  for (float& weight : weights) {
    if (weight > 0 && class_of(weight) > border) weight = 0;
  }
}

void keep_min_p(double min_p, std::vector<float>& weights) {
  if (min_p <= 0) return;
  const auto least = static_cast<float>(min_p);  // the greatest weight is 1
  for (float& weight : weights) {
    if (weight < least) weight = 0;
  }
}

double sum_by_blocks(const std::vector<float>& weights, std::vector<float>& sums) {
  double total = 0;
  for (size_t begin = 0; begin < weights.size(); begin += kernels::kSumBlock) {
    const size_t end = std::min<size_t>(begin + kernels::kSumBlock, weights.size());
    float sum = 0;
    for (size_t i = begin; i < end; ++i) sum += weights[i];
    sums[begin / kernels::kSumBlock] = sum;
    total += sum;
  }
  return total;
}

// Zeroes the weights of tokens that may not be drawn; returns the sum of the others.
double truncate(const TokenRule& rule, double total, std::vector<float>& weights,
                std::vector<float>& sums, std::vector<int32_t>& ids) {
  const bool all = rule.top_k <= 0 && rule.top_p >= 1.0 && rule.min_p <= 0;
  if (all) return total;
  keep_top_k(rule.top_k, weights, ids);
  if (rule.top_k > 0) total = sum_by_blocks(weights, sums);
  keep_top_p(rule.top_p, total, weights, ids);
  keep_min_p(rule.min_p, weights);
  return sum_by_blocks(weights, sums);
}

// The first token in id order whose cumulative weight exceeds uniform * total.
int32_t pick(const std::vector<float>& weights, const std::vector<float>& sums, double total,
             double uniform) {
  const double threshold = uniform * total;
  size_t block = 0;
  double sum = 0, inside = 0;  // inside: of the blocks before `block`
  for (size_t b = 0; b * kernels::kSumBlock < weights.size() && sum <= threshold; ++b) {
    if (sums[b] <= 0) continue;
    block = b;
    inside = sum;
    sum += sums[b];
  }
  const size_t begin = block * kernels::kSumBlock;
  const size_t end = std::min<size_t>(begin + kernels::kSumBlock, weights.size());
  auto last = static_cast<int32_t>(begin);  // rounding may leave the threshold unreached
  for (size_t i = begin; i < end; ++i) {
    if (weights[i] <= 0) continue;
    last = static_cast<int32_t>(i);
    inside += weights[i];
    if (inside > threshold) break;
  }
  return last;
}

int32_t first_greatest(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace

bool TokenRule::changes_logits() const {
  return repetition_penalty != 1.0 || presence_penalty != 0 || frequency_penalty != 0 ||
         !logit_bias.empty() || !bad_words.empty();
}

Draw draw_token(std::span<const float> logits, const TokenRule& rule, const DrawContext& context,
                double uniform, DrawScratch& scratch) {
  const std::span<const float> changed = processed(logits, rule, context, scratch);
  const Weights own = weigh(logits, rule.temperature, scratch.weights, scratch.sums);
  Draw draw;
  if (rule.temperature == 0) {
    draw.token = first_greatest(changed);
    draw.logprob = own.log_of(logits[draw.token]);
    return draw;
  }
  const Weights used = changed.data() == logits.data()
                           ? own
                           : weigh(changed, rule.temperature, scratch.weights, scratch.sums);
  const double kept = truncate(rule, used.total, scratch.weights, scratch.sums, scratch.ids);
  draw.token = pick(scratch.weights, scratch.sums, kept, uniform);
  draw.logprob = own.log_of(logits[draw.token]);
  draw.sampling_logprob =
      used.scale * (changed[draw.token] - used.peak) - static_cast<float>(std::log(kept));
  return draw;
}

std::vector<int32_t> kept_tokens(const TokenRule& rule, const Draw& draw,
                                 const DrawScratch& scratch) {
  if (rule.temperature == 0) return {draw.token};
  std::vector<int32_t> kept;
  for (size_t i = 0; i < scratch.weights.size(); ++i) {
    if (scratch.weights[i] > 0) kept.push_back(static_cast<int32_t>(i));
  }
  if (kept.size() == scratch.weights.size()) kept.clear();
  return kept;
}

std::vector<float> sampling_distribution(std::span<const float> logits, const TokenRule& rule,
                                         const DrawContext& context) {
  DrawScratch scratch;
  const std::span<const float> changed = processed(logits, rule, context, scratch);
  std::vector<float> out(logits.size(), 0.0f);
  if (rule.temperature == 0) {
    out[first_greatest(changed)] = 1;
    return out;
  }
  const Weights used = weigh(changed, rule.temperature, scratch.weights, scratch.sums);
  const double kept = truncate(rule, used.total, scratch.weights, scratch.sums, scratch.ids);
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(scratch.weights[i] / kept);
  return out;
}

TopLogprobs top_logprobs(std::span<const float> logits, int32_t token, int64_t count) {
  DrawScratch scratch;
  const Weights own = weigh(logits, 1.0, scratch.weights, scratch.sums);
  const auto one = [&](int32_t id) { return TokenLogprob{id, own.log_of(logits[id])}; };
  TopLogprobs out{.chosen = one(token), .top = {}};
  std::vector<int32_t> ids(logits.size());
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i);
  const auto most = std::min<size_t>(static_cast<size_t>(std::max<int64_t>(count, 0)), ids.size());
  std::partial_sort(
      ids.begin(), ids.begin() + static_cast<int64_t>(most), ids.end(),
      [&](int32_t a, int32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  for (size_t i = 0; i < most; ++i) out.top.push_back(one(ids[i]));
  return out;
}

}  // namespace ponder::rollout
