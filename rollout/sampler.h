// One token from one row of logits. Pure: the random number is an argument. Knows ids and numbers;
// knows no text and no model.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace ponder::rollout {

// How a token is chosen, in the order of transformers' generate(): bias, penalties, forbidden
// tokens, then temperature, top_k, top_p, min_p. Names and defaults are TRL's and OpenAI's.
struct TokenRule {
  double temperature = 1.0;  // 0: greedy
  int64_t top_k = 0;         // 0: all; tokens as likely as the k-th stay too
  double top_p = 1.0;        // the smallest set of most likely tokens that reaches this mass
  double min_p = 0.0;        // tokens at least this share as likely as the likeliest
  double repetition_penalty =
      1.0;                         // logits of tokens in prompt and completion: divided by it where
                                   // positive, else multiplied (Keskar et al., arXiv:1909.05858)
  double presence_penalty = 0.0;   // OpenAI: taken from the logit of each token in the completion
  double frequency_penalty = 0.0;  // the same, times its count there
  std::map<int32_t, float> logit_bias = {};          // added to the token's logit
  std::vector<std::vector<int32_t>> bad_words = {};  // token sequences that are never completed
  bool changes_logits() const;                       // anything before the temperature
};

// What the rule looks back at.
struct DrawContext {
  std::span<const int32_t> prompt = {};
  std::span<const int32_t> completion = {};
  std::span<const int32_t> forbidden = {};  // ids that may not come now (stops before the minimum)
};

struct Draw {
  int32_t token = 0;
  float logprob = 0;           // nats, of the model's own distribution at the rule's temperature (1
                               // where that is 0): before everything else
  float sampling_logprob = 0;  // nats, of the distribution it was drawn from; greedy: 0
  std::vector<int32_t> kept = {};  // where asked for: kept_tokens()
};

// Buffers reused between calls; one a thread.
struct DrawScratch {
  std::vector<float> logits, weights, sums;
  std::vector<int32_t> ids;
};

// Draws from `logits` [vocabulary] with `uniform` in [0, 1): the first token, in id order, whose
// cumulative probability exceeds it. Greedy takes the first of the greatest. Equal weights at
// top_p's border: the lower ids stay. Where everything is forbidden, the forbidden ids are allowed
// again. Logits that are NaN or plus infinity give some token, whose logprob is NaN: the whole
// row's sum is in it. REQUIRES: logits not empty; prompt and completion ids within the vocabulary.
Draw draw_token(std::span<const float> logits, const TokenRule& rule, const DrawContext& context,
                double uniform, DrawScratch& scratch);

// What the last draw_token with this rule and scratch chose from: the ids that top_k, top_p and
// min_p left, ascending; the chosen token alone where greedy; none where nothing was left out.
std::vector<int32_t> kept_tokens(const TokenRule& rule, const Draw& draw,
                                 const DrawScratch& scratch);

// The distribution that draw_token draws from, [vocabulary]: for tests and speculation's check.
std::vector<float> sampling_distribution(std::span<const float> logits, const TokenRule& rule,
                                         const DrawContext& context);

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;  // nats, the model's own distribution at temperature 1
};

// The `count` most likely tokens, likeliest first, equal ones in id order; and `token`'s own.
struct TopLogprobs {
  TokenLogprob chosen;
  std::vector<TokenLogprob> top;
};
TopLogprobs top_logprobs(std::span<const float> logits, int32_t token, int64_t count);

}  // namespace ponder::rollout
