#include "grpo/policy_input.h"

#include <algorithm>

#include <ATen/ATen.h>

namespace ponder::grpo {
namespace {

// Collects segments as ranges of the batch's own tokens.
struct Segments {
  const TrainBatch& batch;
  std::vector<int64_t> sources;  // [tokens]: the batch's token at each place
  std::vector<int64_t> states;   // [tokens of the batch] -> place of its predictor; -1: none
  std::vector<int32_t> cu_seqlens{0}, parents;

  // Tokens begin .. end of the batch as a segment that goes on from the token at `before`; -1: from
  // none.
  void add(int32_t begin, int32_t end, int32_t parent, int64_t before) {
    for (int32_t t = begin; t < end; ++t) {
      states[t] = t == begin ? before : static_cast<int64_t>(sources.size()) - 1;
      sources.push_back(t);
    }
    cu_seqlens.push_back(static_cast<int32_t>(sources.size()));
    parents.push_back(parent);
  }

  void add_group(int64_t first, int64_t last) {
    const int32_t prompt = batch.prompt_lengths[first];
    if (last - first == 1 || prompt == 0) {
      for (int64_t i = first; i < last; ++i)
        add(batch.cu_seqlens[i], batch.cu_seqlens[i + 1], -1, -1);
      return;
    }
    add(batch.cu_seqlens[first], batch.cu_seqlens[first] + prompt, -1, -1);
    const auto parent = static_cast<int32_t>(parents.size()) - 1;
    const int64_t before = static_cast<int64_t>(sources.size()) - 1;
    for (int64_t i = first; i < last; ++i)
      add(batch.cu_seqlens[i] + prompt, batch.cu_seqlens[i + 1], parent, before);
  }
};

}  // namespace

PolicyInput policy_input(const TrainBatch& batch, Prompts prompts) {
  Segments segments{.batch = batch, .sources = {}, .states = {}, .parents = {}};
  segments.states.assign(batch.num_tokens(), -1);
  for (int64_t first = 0, last; first < batch.num_sequences(); first = last) {
    last = first + 1;
    while (prompts == Prompts::kShared && last < batch.num_sequences() &&
           same_prompt(batch, first, last))
      ++last;
    segments.add_group(first, last);
  }
  const at::Tensor sources = at::tensor(segments.sources, at::kLong);
  PolicyInput out;
  out.token_ids = batch.token_ids.index_select(0, sources);
  out.positions = batch.positions.index_select(0, sources);
  if (batch.experts.defined()) out.experts = batch.experts.index_select(0, sources);
  out.states = at::tensor(segments.states, at::kLong).index_select(0, loss_indices(batch));
  out.cu_seqlens = std::move(segments.cu_seqlens);
  out.parents = std::move(segments.parents);
  return out;
}

}  // namespace ponder::grpo
