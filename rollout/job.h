// One request under way: its completions, their texts and what ends them. Knows of the model its
// configuration alone; nothing of other requests and of the cache.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "policy/tokenizer.h"
#include "rollout/engine.h"
#include "rollout/text_stream.h"

namespace ponder::rollout {

class Job {
 public:
  Job(Request request, const policy::Tokenizer& tokenizer, const policy::Model& model);

  const Request& request() const { return request_; }
  const std::vector<int32_t>& prompt() const { return request_.prompt.token_ids; }
  const data::Completion& completion(size_t sample) const { return completions_[sample]; }

  // Samples that are not complete from the start, in order; the scheduler numbers them so.
  const std::vector<size_t>& open_samples() const { return open_samples_; }
  // Token at `position` of the sequence: of the prompt, then of the completion.
  int32_t token_at(size_t sample, int64_t position) const;
  // Prompt and completion at their longest, tokens.
  int64_t length_max() const { return length_max_; }

  // The next token of a sample from its logits. Pure: threads may draw for several samples.
  // `guesses` stand behind the completion's tokens as if they had been taken. Logits that are not
  // finite give a logprob of NaN: not to be taken.
  Draw draw(size_t sample, std::span<const int32_t> guesses, std::span<const float> logits,
            DrawScratch& scratch) const;
  // Of `count` tokens guessed ahead, as many as can be of use: what the sample has left, but one.
  int64_t useful_guesses(size_t sample, int64_t count) const;
  // At most `count` tokens that may come next: what followed the last time that the sequence's last
  // tokens stood in it (prompt lookup); none where they never did.
  std::vector<int32_t> look_up(size_t sample, int64_t count) const;
  // Books which experts the token at `position` went to, Model::routing_width() numbers: a prompt's
  // for all samples that are open. Nothing to do where the request does not keep the routing.
  void note_experts(size_t sample, int64_t position, std::span<const int16_t> experts);
  // Where the prompt's log-probs are asked for: the position that comes next, whose logits tell of
  // the token behind it; none once all are known.
  std::optional<int64_t> next_to_score() const;
  // Takes them for the token behind that position; NaN fails the request.
  void take_score(TopLogprobs score);
  const std::vector<TopLogprobs>& prompt_scores() const { return prompt_scores_; }
  // Takes the token; returns why the sample has ended, if it has.
  std::optional<data::FinishReason> take(size_t sample, const Draw& draw);
  // What draw() gave for the sample's next token is NaN: the request fails.
  void fail_sample(size_t sample);
  // Where logits were not finite (NotFiniteLogits::where); empty: nowhere.
  const std::string& failure() const { return failure_; }
  // Ends a sample; its text is complete then.
  void end(size_t sample, data::FinishReason reason);
  bool ended(size_t sample) const { return ended_[sample]; }
  bool all_ended() const { return num_ended_ == completions_.size(); }

  // What the last take() added to the sample's text.
  std::string take_new_text(size_t sample) { return std::exchange(new_text_[sample], {}); }

 private:
  void start(size_t sample, const policy::Tokenizer& tokenizer);
  void fail(const std::string& place);

  Request request_;
  policy::Tokenizer tokenizer_;
  std::set<int32_t> stop_ids_;
  std::vector<int32_t> stop_list_;       // the same
  uint64_t stream_;                      // of the random numbers
  size_t routing_width_ = 0;             // of a token's record; 0: none is kept
  int64_t length_max_ = 0;               // of the longest sample, prompt included
  std::vector<int64_t> completion_max_;  // [samples]
  std::vector<data::Completion> completions_;
  std::vector<TopLogprobs> prompt_scores_;
  std::vector<std::optional<TextStream>> texts_;  // where text is wanted before the end
  std::vector<std::string> new_text_;
  std::vector<size_t> open_samples_;
  std::vector<size_t> begun_tokens_;  // of each sample, from earlier calls
  std::vector<bool> ended_;
  size_t num_ended_ = 0;
  std::string failure_;
};

}  // namespace ponder::rollout
