#include "rollout/prompt_scores.h"

#include <algorithm>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

namespace ponder::rollout {
namespace {

// Rows of logits that stand in memory at once, [rows, vocabulary] float32.
constexpr int64_t kLogitRows = 64;

}  // namespace

std::vector<int64_t> PromptScores::rows_of(const Scheduler::Chunk& chunk,
                                           const std::shared_ptr<Job>& job, int64_t first_row) {
  std::vector<int64_t> out;
  const auto next = job->next_to_score();
  if (!next) return out;
  const int64_t known = chunk.begin + chunk.count - chunk.guessed;
  const int64_t end = std::min(known, static_cast<int64_t>(job->prompt().size()) - 1);
  for (int64_t p = *next; p >= chunk.begin && p < end; ++p) {
    out.push_back(first_row + p - chunk.begin);
    rows_.push_back(
        {job, job->prompt()[static_cast<size_t>(p) + 1], *job->request().num_prompt_logprobs});
  }
  return out;
}

std::vector<std::shared_ptr<Job>> PromptScores::book(policy::Decoder& decoder,
                                                     const at::Tensor& hidden) {
  const auto count = static_cast<int64_t>(rows_.size());
  std::vector<TopLogprobs> scores(rows_.size());
  for (int64_t begin = 0; begin < count; begin += kLogitRows) {
    const int64_t rows = std::min(kLogitRows, count - begin);
    const at::Tensor logits =
        decoder.logits(hidden.narrow(0, hidden.size(0) - count + begin, rows));
    const int64_t vocabulary = logits.size(1);
    at::parallel_for(0, rows, 1, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const std::span<const float> values(logits.const_data_ptr<float>() + i * vocabulary,
                                            vocabulary);
        scores[begin + i] = top_logprobs(values, rows_[begin + i].token, rows_[begin + i].num_top);
      }
    });
  }
  std::vector<std::shared_ptr<Job>> complete;
  for (size_t i = 0; i < scores.size(); ++i) {
    rows_[i].job->take_score(std::move(scores[i]));
    if (!rows_[i].job->next_to_score()) complete.push_back(rows_[i].job);
  }
  rows_.clear();
  return complete;
}

}  // namespace ponder::rollout
