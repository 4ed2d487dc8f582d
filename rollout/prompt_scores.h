// Log-probs of prompts' own tokens, from the passes that run the prompts anyway.
#pragma once

#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "policy/decode/decoder.h"
#include "rollout/job.h"
#include "rollout/scheduler.h"

namespace ponder::rollout {

class PromptScores {
 public:
  // Before a pass: the rows, of those that start at `first_row`, whose hidden states tell of the
  // chunk's prompt tokens. Empty where the job asks for none.
  std::vector<int64_t> rows_of(const Scheduler::Chunk& chunk, const std::shared_ptr<Job>& job,
                               int64_t first_row);
  // After it: books the scores of all rows that rows_of() gave, in that order the last ones of
  // `hidden` [rows, hidden]. Returns the jobs whose prompts are complete now.
  std::vector<std::shared_ptr<Job>> book(policy::Decoder& decoder, const at::Tensor& hidden);

 private:
  struct Row {
    std::shared_ptr<Job> job;
    int32_t token;
    int64_t num_top;
  };
  std::vector<Row> rows_;
};

}  // namespace ponder::rollout
