// A softmax over logits that come in pieces: what log-probability and entropy need of a row, folded
// piece by piece and merged between threads (online softmax: Milakov and Gimelshein,
// arXiv:1805.02867). The body of the CUDA kernel of policy/cuda/logprobs.cu, compiled for the host
// too, where the tests hold it to the plain path (token_logprobs.cpp).
#pragma once

#include <cmath>

#include "policy/host_device.h"

namespace ponder::policy {

// Of the logits l seen so far. Before the first: peak is -infinity.
struct LogitFold {
  float peak = -INFINITY;  // max l
  float total = 0;         // sum exp(l - peak)
  float weighted = 0;      // sum exp(l - peak) (l - peak)
};

// Both folds as one. Not associative in its last bits: callers merge in a fixed order.
PONDER_HOST_DEVICE inline LogitFold merge(const LogitFold& a, const LogitFold& b) {
  if (b.total == 0) return a;
  if (a.total == 0) return b;
  const float peak = fmaxf(a.peak, b.peak);
  const float da = a.peak - peak, db = b.peak - peak;
  const float fa = expf(da), fb = expf(db);
  return {peak, a.total * fa + b.total * fb,
          fa * (a.weighted + a.total * da) + fb * (b.weighted + b.total * db)};
}

// Every step-th of `count` logits from `first` on, each times `factor` (1 / temperature).
template <typename T>
PONDER_HOST_DEVICE inline LogitFold fold_logits(const T* logits, int64_t first, int64_t step,
                                                int64_t count, float factor) {
  LogitFold fold;
  for (int64_t i = first; i < count; i += step)
    fold.peak = fmaxf(fold.peak, load_value(logits[i]) * factor);
  if (fold.peak == -INFINITY) return fold;  // nothing, or nothing that counts
  for (int64_t i = first; i < count; i += step) {
    const float below = load_value(logits[i]) * factor - fold.peak;
    const float weight = expf(below);
    fold.total += weight;
    fold.weighted += weight * below;
  }
  return fold;
}

// ln of the softmax's divisor, and the distribution's entropy in nats.
PONDER_HOST_DEVICE inline float log_sum(const LogitFold& fold) {
  return fold.peak + logf(fold.total);
}
PONDER_HOST_DEVICE inline float entropy(const LogitFold& fold) {
  return logf(fold.total) - fold.weighted / fold.total;
}

}  // namespace ponder::policy
