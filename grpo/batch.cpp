#include "grpo/batch.h"

#include <algorithm>
#include <numeric>

#include <ATen/ATen.h>

#include "core/error.h"
#include "core/random.h"

namespace ponder::grpo {
namespace {

struct Packer {
  std::vector<int64_t> token_ids, positions;
  std::vector<int32_t> cu_seqlens{0}, prompt_lengths, groups;
  std::vector<uint8_t> loss_mask;
  std::vector<float> advantages, old_logprobs;
  std::vector<int32_t> kept_ids;
  std::vector<int64_t> kept_counts;
  std::vector<int16_t> experts;

  void add(const data::Prompt& prompt, const data::Completion& completion, float advantage,
           bool trains, int32_t group) {
    const size_t prompt_length = prompt.token_ids.size(),
                 completion_length = completion.token_ids.size();
    PONDER_CHECK(completion.logprobs.size() == completion_length,
                 "[pack] expected a log-prob for each of {} tokens, got {} (prompt '{}')",
                 completion_length, completion.logprobs.size(), prompt.id);
    token_ids.insert(token_ids.end(), prompt.token_ids.begin(), prompt.token_ids.end());
    token_ids.insert(token_ids.end(), completion.token_ids.begin(), completion.token_ids.end());
    for (size_t i = 0; i < prompt_length + completion_length; ++i)
      positions.push_back(static_cast<int64_t>(i));
    loss_mask.resize(loss_mask.size() + prompt_length, 0);
    advantages.resize(advantages.size() + prompt_length, 0.0F);
    old_logprobs.resize(old_logprobs.size() + prompt_length, 0.0F);
    loss_mask.resize(loss_mask.size() + completion_length, trains ? 1 : 0);
    advantages.resize(advantages.size() + completion_length, advantage);
    add_record(prompt, completion);
    cu_seqlens.push_back(static_cast<int32_t>(token_ids.size()));
    prompt_lengths.push_back(static_cast<int32_t>(prompt_length));
    groups.push_back(group);
  }

  // The sampler's log-probs, its masks and its routing. REQUIRES: the tokens are there.
  void add_record(const data::Prompt& prompt, const data::Completion& completion) {
    const bool masked = !completion.kept_counts.empty();
    const std::vector<float>& logprobs =
        masked ? completion.sampling_logprobs : completion.logprobs;
    PONDER_CHECK(logprobs.size() == completion.token_ids.size(),
                 "[pack] expected a sampling log-prob for each of {} tokens, got {} (prompt '{}')",
                 completion.token_ids.size(), logprobs.size(), prompt.id);
    old_logprobs.insert(old_logprobs.end(), logprobs.begin(), logprobs.end());
    if (masked) {
      kept_ids.insert(kept_ids.end(), completion.kept_ids.begin(), completion.kept_ids.end());
      kept_counts.resize(kept_counts.size() + prompt.token_ids.size(), 0);
      kept_counts.insert(kept_counts.end(), completion.kept_counts.begin(),
                         completion.kept_counts.end());
    }
    experts.insert(experts.end(), completion.experts.begin(), completion.experts.end());
  }

  TrainBatch batch() && {
    TrainBatch out;
    out.token_ids = at::tensor(token_ids, at::kLong);
    out.positions = at::tensor(positions, at::kLong);
    out.loss_mask = at::tensor(loss_mask, at::kByte).to(at::kBool);
    out.advantages = at::tensor(advantages, at::kFloat);
    out.old_logprobs = at::tensor(old_logprobs, at::kFloat);
    out.num_loss_tokens = std::accumulate(loss_mask.begin(), loss_mask.end(), int64_t{0});
    const size_t tokens = token_ids.size();
    if (!kept_counts.empty()) {
      PONDER_CHECK(kept_counts.size() == tokens,
                   "[pack] sampling masks of {} tokens, expected all {}", kept_counts.size(),
                   tokens);
      out.kept_ids = at::tensor(kept_ids, at::kInt);
      out.kept_counts = at::tensor(kept_counts, at::kLong);
    }
    if (!experts.empty()) {
      PONDER_CHECK(experts.size() % tokens == 0, "[pack] {} choices of experts for {} tokens",
                   experts.size(), tokens);
      out.experts = at::tensor(experts, at::kShort).view({static_cast<int64_t>(tokens), -1});
    }
    out.cu_seqlens = std::move(cu_seqlens);
    out.prompt_lengths = std::move(prompt_lengths);
    out.groups = std::move(groups);
    return out;
  }
};

// The ids that belong to `tokens` (ascending or not) of the batch.
at::Tensor select_kept(const TrainBatch& batch, const std::vector<int64_t>& tokens) {
  const at::Tensor ends = batch.kept_counts.cumsum(0), counts = batch.kept_counts;
  const int64_t *end = ends.const_data_ptr<int64_t>(), *count = counts.const_data_ptr<int64_t>();
  const int32_t* ids = batch.kept_ids.const_data_ptr<int32_t>();
  std::vector<int32_t> out;
  for (const int64_t t : tokens) out.insert(out.end(), ids + end[t] - count[t], ids + end[t]);
  return at::tensor(out, at::kInt);
}

std::vector<int32_t> range(int64_t begin, int64_t end) {
  std::vector<int32_t> indices(end - begin);
  std::iota(indices.begin(), indices.end(), static_cast<int32_t>(begin));
  return indices;
}

}  // namespace

TrainBatch pack(std::span<const data::ScoredGroup> groups,
                const std::vector<std::vector<float>>& advantages, const PackOptions& options) {
  PONDER_CHECK(advantages.size() == groups.size(),
               "[pack] expected advantages of {} groups, got {}", groups.size(), advantages.size());
  Packer packer;
  for (size_t g = 0; g < groups.size(); ++g) {
    const data::Group& group = groups[g].group;
    PONDER_CHECK(advantages[g].size() == group.completions.size(),
                 "[pack] expected {} advantages for group {}, got {}", group.completions.size(), g,
                 advantages[g].size());
    for (size_t i = 0; i < group.completions.size(); ++i) {
      const data::Completion& completion = group.completions[i];
      const bool judged = groups[g].scores[i].value.has_value();
      const bool whole = !options.mask_truncated_completions ||
                         completion.finish_reason == data::FinishReason::kStop;
      const bool trains = judged && whole;
      if (options.drop_zero_advantages && (!trains || advantages[g][i] == 0)) continue;
      packer.add(group.prompt, completion, advantages[g][i], trains, static_cast<int32_t>(g));
    }
  }
  return std::move(packer).batch();
}

TrainBatch select(const TrainBatch& batch, std::span<const int32_t> sequences) {
  TrainBatch out;
  out.cu_seqlens = {0};
  std::vector<int64_t> tokens;
  for (const int32_t i : sequences) {
    PONDER_CHECK(i >= 0 && i < batch.num_sequences(), "[select] no sequence {} among {}", i,
                 batch.num_sequences());
    for (int32_t t = batch.cu_seqlens[i]; t < batch.cu_seqlens[i + 1]; ++t) tokens.push_back(t);
    out.cu_seqlens.push_back(static_cast<int32_t>(tokens.size()));
    out.prompt_lengths.push_back(batch.prompt_lengths[i]);
    out.groups.push_back(batch.groups[i]);
  }
  const at::Tensor indices = at::tensor(tokens, at::kLong).to(batch.token_ids.device());
  const auto pick = [&](const at::Tensor& x) {
    return x.defined() ? x.index_select(0, indices) : at::Tensor();
  };
  out.token_ids = pick(batch.token_ids);
  out.positions = pick(batch.positions);
  out.loss_mask = pick(batch.loss_mask);
  out.advantages = pick(batch.advantages);
  out.old_logprobs = pick(batch.old_logprobs);
  out.sampling_logprobs = pick(batch.sampling_logprobs);
  out.ref_logprobs = pick(batch.ref_logprobs);
  out.experts = pick(batch.experts);
  out.kept_counts = pick(batch.kept_counts);
  if (batch.kept_counts.defined()) out.kept_ids = select_kept(batch, tokens);
  out.num_loss_tokens = out.loss_mask.sum().item<int64_t>();
  return out;
}

bool same_prompt(const TrainBatch& batch, int64_t a, int64_t b) {
  return batch.groups[a] == batch.groups[b] && batch.prompt_lengths[a] == batch.prompt_lengths[b];
}

std::vector<TrainBatch> split(const TrainBatch& batch, int64_t max_tokens, Prompts prompts) {
  std::vector<TrainBatch> parts;
  int64_t begin = 0, tokens = 0;
  for (int64_t i = 0; i < batch.num_sequences(); ++i) {
    const int64_t length = batch.cu_seqlens[i + 1] - batch.cu_seqlens[i];
    const bool seen = prompts == Prompts::kShared && i > begin && same_prompt(batch, i - 1, i);
    const int64_t more = seen ? length - batch.prompt_lengths[i] : length;
    if (i > begin && tokens + more > max_tokens) {
      parts.push_back(select(batch, range(begin, i)));
      begin = i;
      tokens = length;
    } else {
      tokens += more;
    }
  }
  if (begin < batch.num_sequences())
    parts.push_back(select(batch, range(begin, batch.num_sequences())));
  return parts;
}

std::vector<TrainBatch> split_at_random(const TrainBatch& batch, int64_t parts, uint64_t seed) {
  PONDER_CHECK(parts > 0, "[split_at_random] expected at least one part, got {}", parts);
  std::vector<int32_t> order = range(0, batch.num_sequences());
  core::Rng rng(seed, core::stable_hash("mini-batches"));
  if (parts > 1) {
    for (size_t i = order.size(); i-- > 1;)
      std::swap(order[i], order[rng.integer(0, static_cast<int64_t>(i))]);
  }
  std::vector<TrainBatch> out;
  auto begin = order.begin();
  for (int64_t p = 0; p < std::min(parts, batch.num_sequences()); ++p) {
    const int64_t size =
        batch.num_sequences() / parts + (p < batch.num_sequences() % parts ? 1 : 0);
    std::sort(begin, begin + size);
    out.push_back(select(batch, std::span(begin, begin + size)));
    begin += size;
  }
  return out;
}

at::Tensor loss_indices(const TrainBatch& batch) {
  return batch.loss_mask.nonzero().squeeze(1);
}

std::vector<int32_t> loss_offsets(const TrainBatch& batch) {
  const at::Tensor mask = batch.loss_mask.cpu().contiguous();
  const bool* in_loss = mask.const_data_ptr<bool>();
  std::vector<int32_t> offsets{0};
  for (int64_t i = 0; i < batch.num_sequences(); ++i) {
    const auto count =
        std::count(in_loss + batch.cu_seqlens[i], in_loss + batch.cu_seqlens[i + 1], true);
    offsets.push_back(offsets.back() + static_cast<int32_t>(count));
  }
  return offsets;
}

}  // namespace ponder::grpo
