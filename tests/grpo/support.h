// Made-up batches and losses for the tests of grpo.
#pragma once

#include <vector>

#include <ATen/ATen.h>
#include <torch/csrc/autograd/generated/variable_factories.h>

#include "grpo/loss.h"

namespace ponder::grpo::testing {

// Groups of completions with the given lengths; token ids, log-probs and scores from the seed.
inline std::vector<data::ScoredGroup> make_groups(const std::vector<std::vector<int>>& lengths,
                                                  uint64_t seed) {
  std::vector<data::ScoredGroup> groups;
  at::Generator generator = at::detail::createCPUGenerator(seed);
  for (size_t g = 0; g < lengths.size(); ++g) {
    data::Group group;
    group.prompt.id = "p" + std::to_string(g);
    group.prompt.token_ids.assign(2 + g, static_cast<int32_t>(g));
    std::vector<data::Score> scores(lengths[g].size());
    for (size_t i = 0; i < lengths[g].size(); ++i) {
      data::Completion completion;
      completion.finish_reason = data::FinishReason::kStop;
      const at::Tensor noise = at::randn({lengths[g][i] + 1}, generator);
      for (int t = 0; t < lengths[g][i]; ++t) {
        completion.token_ids.push_back(100 + t);
        completion.logprobs.push_back(-2 + 0.5F * noise[t].item<float>());
      }
      group.completions.push_back(completion);
      scores[i].value = noise[lengths[g][i]].item<double>();
      scores[i].parts["r"] = *scores[i].value;
    }
    groups.emplace_back(group, scores);
  }
  return groups;
}

// Five sequences, the fourth empty: off-policy by 0.3 a token, with reference, sampler, entropies.
inline LossInputs make_inputs(at::ScalarType type, uint64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const auto noise = [&](int64_t n, double scale) {
    return at::randn({n}, generator, at::dtype(at::kDouble)) * scale;
  };
  LossInputs in;
  in.offsets = {0, 4, 5, 11, 11, 14};
  const int64_t n = in.offsets.back();
  const at::Tensor logprobs = noise(n, 0.7) - 2;
  const at::Tensor old = logprobs + noise(n, 0.3);
  in.logprobs = logprobs.to(type).requires_grad_(true);
  in.old_logprobs = old.to(type);
  in.ref_logprobs = (logprobs + noise(n, 0.4)).to(type);
  in.sampling_logprobs = (old + noise(n, 0.2)).to(type);
  in.entropies = noise(n, 1.0).abs().to(type).requires_grad_(true);
  const std::vector<double> advantages{1.3, -0.7, -1.1, 0.9, 0.6};
  std::vector<double> spread;
  for (size_t i = 0; i + 1 < in.offsets.size(); ++i) {
    spread.insert(spread.end(), in.offsets[i + 1] - in.offsets[i], advantages[i]);
  }
  in.advantages = at::tensor(spread, at::dtype(type));
  in.normalizer = {.sequences = 5, .loss_tokens = 14, .rollout_tokens = 20};
  return in;
}

inline std::vector<double> values_of(const at::Tensor& x) {
  const at::Tensor flat = x.detach().to(at::kDouble).cpu().contiguous();
  return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
}

}  // namespace ponder::grpo::testing
