#include "rollout/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace ponder::rollout {
namespace {

// scratch becomes exp(logit / temperature - peak); returns their sum.
float exponentials(std::span<const float> logits, float inverse_temperature, float peak,
                   std::vector<float>& scratch) {
  scratch.resize(logits.size());
  float* out = scratch.data();
  const float* in = logits.data();
  const size_t count = logits.size();
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < count; ++i) {
    out[i] = std::exp(inverse_temperature * (in[i] - peak));
    sum += out[i];
  }
  return sum;
}

// Zeroes the weights of the tokens that top_k and top_p leave out; returns the sum of the rest.
// Equal weights at the border: the lower ids stay.
float truncate(const TokenRule& rule, float total, std::vector<float>& weights) {
  std::vector<int32_t> order(weights.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return weights[a] > weights[b]; });
  const size_t most = rule.top_k > 0 ? std::min<size_t>(rule.top_k, order.size()) : order.size();
  float kept = 0;
  size_t count = 0;
  while (count < most && (count == 0 || kept < static_cast<float>(rule.top_p) * total))
    kept += weights[order[count++]];
  for (size_t i = count; i < order.size(); ++i) weights[order[i]] = 0;
  return kept;
}

int32_t pick(const std::vector<float>& weights, float total, double uniform) {
  const double threshold = uniform * total;
  double sum = 0;
  int32_t last = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] <= 0) continue;
    sum += weights[i];
    last = static_cast<int32_t>(i);
    if (sum > threshold) break;
  }
  return last;  // rounding may leave the threshold unreached: the last possible token then
}

}  // namespace

Draw draw_token(std::span<const float> logits, const TokenRule& rule, double uniform,
                std::vector<float>& scratch) {
  const bool greedy = rule.temperature == 0;
  const auto best = std::max_element(logits.begin(), logits.end());
  const float peak = *best, scale = greedy ? 1.0f : static_cast<float>(1.0 / rule.temperature);
  const float total = exponentials(logits, scale, peak, scratch);
  Draw draw;
  if (greedy) {
    draw.token = static_cast<int32_t>(best - logits.begin());
  } else {
    const bool truncated = rule.top_k > 0 || rule.top_p < 1.0;
    draw.token = pick(scratch, truncated ? truncate(rule, total, scratch) : total, uniform);
  }
  draw.logprob = scale * (logits[draw.token] - peak) - std::log(total);
  return draw;
}

}  // namespace ponder::rollout
