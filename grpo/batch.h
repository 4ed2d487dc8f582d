// Scored groups and their advantages as tensors: sequences (prompt, then completion) laid end to
// end, no padding. Knows neither the model nor the loss.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "data/types.h"

namespace ponder::grpo {

// Index t of loss_mask, advantages and every *_logprobs belongs to token t itself: log p(token t |
// the tokens before it in its sequence). Prompt tokens have mask 0, advantage 0 and log-prob 0.
struct TrainBatch {
  at::Tensor token_ids;  // int64 [tokens]
  at::Tensor positions;  // int64 [tokens], from 0 in each sequence
  // [sequences + 1]: sequence i is tokens cu_seqlens[i] .. cu_seqlens[i + 1].
  std::vector<int32_t> cu_seqlens;
  // [sequences]: the prompt's tokens at each sequence's start.
  std::vector<int32_t> prompt_lengths;
  // [sequences]: sequences with one number have the same prompt and stand together.
  std::vector<int32_t> groups;
  at::Tensor loss_mask;   // bool [tokens]: the token is trained
  at::Tensor advantages;  // float32 [tokens]
  // float32 [tokens], nats, of the policy before this rollout's updates; undefined: the policy that
  // is trained, whose only update of the rollout this is.
  at::Tensor old_logprobs;
  at::Tensor sampling_logprobs;  // float32 [tokens], of the engine that sampled; undefined:
                                 // old_logprobs is it
  at::Tensor ref_logprobs;       // float32 [tokens], of the reference policy; undefined: none
  // DeepSeek-V3.2's Keep Sampling Mask (arXiv:2512.02556 section 3.1): the ids that each token was
  // drawn from, ascending, token after token, int32 [kept]; int64 [tokens], how many, 0: the whole
  // vocabulary. Undefined: nothing was left out. Every *_logprobs is then of the distribution over
  // these.
  at::Tensor kept_ids, kept_counts;
  at::Tensor experts;  // int16 [tokens, mixtures x experts a token], where the engine sent each
                       // token, -1: unknown; undefined: the policy chooses anew
  int64_t num_loss_tokens = 0;  // loss_mask's sum

  int64_t num_tokens() const { return cu_seqlens.empty() ? 0 : cu_seqlens.back(); }
  int64_t num_sequences() const {
    return cu_seqlens.empty() ? 0 : static_cast<int64_t>(cu_seqlens.size()) - 1;
  }
};

struct PackOptions {
  // DAPO's overlong filter (TRL: mask_truncated_completions): a completion that did not end by
  // itself (kLength, kAborted) has mask 0. It still counts among the sequences and in its group's
  // baseline.
  bool mask_truncated_completions = false;
  // Leave out masked completions and those whose advantage is 0. They cannot move the policy unless
  // there is a KL term or an entropy bonus. Changes the number of sequences and of tokens, which
  // the loss divides by: take the Normalizer (loss.h) from the whole rollout.
  bool drop_zero_advantages = false;
};

// One batch of all completions, in order. A completion without a score (Score::value empty) has
// mask 0: what could not be judged trains nothing. old_logprobs are the sampler's; a trainer that
// recomputes them moves that tensor to sampling_logprobs first. Completions with a sampling mask
// give their sampling_logprobs as old_logprobs. Throws InternalError when advantages, log-probs and
// tokens differ in number, or some completions have a mask (a routing) and others do not.
TrainBatch pack(std::span<const data::ScoredGroup> groups,
                const std::vector<std::vector<float>>& advantages, const PackOptions& options = {});

// The batch of these sequences of `batch`, in the order given. Throws InternalError on an index out
// of range.
TrainBatch select(const TrainBatch& batch, std::span<const int32_t> sequences);

// Whether the policy sees a prompt once for all completions of its group (policy_input.h), or again
// with each.
enum class Prompts { kShared, kRepeated };

// True where sequences a < b of one batch are of one group: the same prompt.
bool same_prompt(const TrainBatch& batch, int64_t a, int64_t b);

// Micro-batches of at most `max_tokens` tokens as the policy sees them, consecutive sequences
// together, filled greedily; a longer sequence is a micro-batch of its own. Each sequence appears
// once, in order.
std::vector<TrainBatch> split(const TrainBatch& batch, int64_t max_tokens,
                              Prompts prompts = Prompts::kShared);

// `parts` mini-batches of sequences drawn at random without replacement (DeepSeek-R1,
// arXiv:2501.12948v2 §2.1), as equal in number as can be, each in the batch's order so that groups
// stand together. A function of the batch's size, `parts` and `seed`. One part is the batch itself.
std::vector<TrainBatch> split_at_random(const TrainBatch& batch, int64_t parts, uint64_t seed);

// Sequences for each of `workers`, the tokens that each runs (a group's prompt once) as even as
// longest-first placement makes them; each list ascending. Deterministic. A list may be empty.
std::vector<std::vector<int32_t>> balance(const TrainBatch& batch, int64_t workers);

// int64 [num_loss_tokens]: where loss_mask is true, ascending. x.index_select(0, loss_indices(b))
// lays a [tokens] tensor out as the loss takes it.
at::Tensor loss_indices(const TrainBatch& batch);

// [sequences + 1]: where each sequence's loss tokens begin among all loss tokens; empty sequences
// have equal neighbours.
std::vector<int32_t> loss_offsets(const TrainBatch& batch);

}  // namespace ponder::grpo
