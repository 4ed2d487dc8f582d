// One token from one row of logits. Pure: the random number is an argument.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ponder::rollout {

// How a token is chosen. TRL's names and defaults.
struct TokenRule {
  double temperature = 1.0;  // 0: greedy
  int64_t top_k = 0;         // 0: all
  double top_p = 1.0;        // the smallest set of tokens that reaches this mass
};

struct Draw {
  int32_t token = 0;
  float logprob = 0;  // nats, of the whole distribution at the rule's temperature (1 where that is
                      // 0), before top_k and top_p
};

// Draws from `logits` [vocabulary] with `uniform` in [0, 1): the first token, in id order, whose
// cumulative probability exceeds it. Greedy takes the first of the greatest. REQUIRES: logits not
// empty. `scratch` is reused between calls.
Draw draw_token(std::span<const float> logits, const TokenRule& rule, double uniform,
                std::vector<float>& scratch);

}  // namespace ponder::rollout
