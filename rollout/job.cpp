#include "rollout/job.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/error.h"
#include "core/random.h"

namespace ponder::rollout {
namespace {

// Tokens at the sequence's end that must have stood in it before for a guess.
constexpr int64_t kLongestMatch = 4, kShortestMatch = 2;

}  // namespace

Job::Job(Request request, const policy::Tokenizer& tokenizer, const policy::Model& model)
    : request_(std::move(request)),
      tokenizer_(tokenizer),
      stop_ids_(request_.options.stop_token_ids.begin(), request_.options.stop_token_ids.end()),
      stream_(core::stable_hash(fmt::format("{}#{}", request_.prompt.id, request_.options.round))) {
  const SampleOptions& options = request_.options;
  if (!options.ignore_eos) {
    for (const int64_t id : model.config().eos_token_ids)
      stop_ids_.insert(static_cast<int32_t>(id));
  }
  stop_list_.assign(stop_ids_.begin(), stop_ids_.end());
  const auto samples = static_cast<size_t>(options.num_generations);
  PONDER_CHECK(request_.begun.empty() || request_.begun.size() == samples,
               "[Job] {} begun completions for {} samples", request_.begun.size(), samples);
  PONDER_CHECK(request_.lengths_max.empty() || request_.lengths_max.size() == samples,
               "[Job] {} limits for {} samples", request_.lengths_max.size(), samples);
  if (options.keep_routing) routing_width_ = static_cast<size_t>(model.routing_width());
  const auto prompt = static_cast<int64_t>(request_.prompt.token_ids.size());
  const int64_t context = model.config().max_position_embeddings;
  for (size_t sample = 0; sample < samples; ++sample) {
    const int64_t most =
        request_.lengths_max.empty() ? options.max_completion_length : request_.lengths_max[sample];
    completion_max_.push_back(std::min(most, context - prompt));
    length_max_ = std::max(length_max_, prompt + completion_max_.back());
  }
  completions_.resize(samples);
  if (!request_.begun.empty()) completions_ = std::move(request_.begun);
  texts_.resize(samples);
  new_text_.resize(samples);
  ended_.resize(samples, false);
  for (size_t sample = 0; sample < samples; ++sample) start(sample, tokenizer);
}

void Job::start(size_t sample, const policy::Tokenizer& tokenizer) {
  data::Completion& completion = completions_[sample];
  begun_tokens_.push_back(completion.token_ids.size());
  const bool complete =
      !completion.token_ids.empty() && (completion.finish_reason == data::FinishReason::kStop ||
                                        completion.finish_reason == data::FinishReason::kLength);
  if (complete) {
    ended_[sample] = true;
    ++num_ended_;
    return;
  }
  if (completion.token_ids.empty()) {
    completion = {};
    completion.policy_version = request_.policy_version;
  } else if (completion.token_versions.empty()) {
    completion.token_versions.assign(completion.token_ids.size(), completion.policy_version);
  }
  completion.experts.resize((prompt().size() + completion.token_ids.size()) * routing_width_, -1);
  open_samples_.push_back(sample);
  if (request_.options.stop.empty() && !request_.on_token) return;
  texts_[sample].emplace(tokenizer, request_.options.skip_special_tokens, request_.options.stop,
                         request_.options.include_stop_str_in_output);
  for (const int32_t token : completion.token_ids) texts_[sample]->push(token);
}

int32_t Job::token_at(size_t sample, int64_t position) const {
  const auto in_prompt = static_cast<int64_t>(prompt().size());
  return position < in_prompt ? prompt()[position]
                              : completions_[sample].token_ids[position - in_prompt];
}

Draw Job::draw(size_t sample, std::span<const int32_t> guesses, std::span<const float> logits,
               DrawScratch& scratch) const {
  std::span<const int32_t> tokens = completions_[sample].token_ids;
  std::vector<int32_t> with_guesses;
  if (!guesses.empty()) {
    with_guesses.assign(tokens.begin(), tokens.end());
    with_guesses.insert(with_guesses.end(), guesses.begin(), guesses.end());
    tokens = with_guesses;
  }
  const double uniform =
      core::uniform_at(request_.options.seed, stream_, static_cast<uint32_t>(sample),
                       static_cast<uint32_t>(tokens.size()));
  DrawContext context{.prompt = prompt(), .completion = tokens};
  if (static_cast<int64_t>(tokens.size()) < request_.options.min_completion_length)
    context.forbidden = stop_list_;
  Draw draw = draw_token(logits, request_.options.rule, context, uniform, scratch);
  if (request_.options.keep_sampling_mask && !std::isnan(draw.logprob))
    draw.kept = kept_tokens(request_.options.rule, draw, scratch);
  return draw;
}

void Job::note_experts(size_t sample, int64_t position, std::span<const int16_t> experts) {
  if (routing_width_ == 0) return;
  const auto note = [&](size_t of) {
    std::copy(experts.begin(), experts.end(),
              completions_[of].experts.begin() + position * std::ssize(experts));
  };
  if (position >= std::ssize(prompt())) return note(sample);
  for (const size_t open : open_samples_) {
    if (!ended_[open]) note(open);
  }
}

int64_t Job::useful_guesses(size_t sample, int64_t count) const {
  const auto have = static_cast<int64_t>(completions_[sample].token_ids.size());
  return std::max<int64_t>(0, std::min(count, completion_max_[sample] - have - 1));
}

std::vector<int32_t> Job::look_up(size_t sample, int64_t count) const {
  std::vector<int32_t> all = prompt();
  const std::vector<int32_t>& own = completions_[sample].token_ids;
  all.insert(all.end(), own.begin(), own.end());
  const auto size = static_cast<int64_t>(all.size());
  for (int64_t length = kLongestMatch; length >= kShortestMatch && count > 0; --length) {
    for (int64_t end = size - 1; end >= length; --end) {
      if (!std::equal(all.end() - length, all.end(), all.begin() + end - length)) continue;
      return {all.begin() + end, all.begin() + std::min(end + count, size)};
    }
  }
  return {};
}

std::optional<int64_t> Job::next_to_score() const {
  const auto next = static_cast<int64_t>(prompt_scores_.size());
  const auto last = static_cast<int64_t>(prompt().size()) - 1;
  if (!request_.num_prompt_logprobs || next >= last) return std::nullopt;
  return next;
}

void Job::take_score(TopLogprobs score) {
  if (std::isnan(score.chosen.logprob))
    fail(fmt::format("token {} of the prompt", prompt_scores_.size() + 1));
  prompt_scores_.push_back(std::move(score));
}

void Job::fail_sample(size_t sample) {
  fail(fmt::format("token {} of sample {}", completions_[sample].token_ids.size(), sample));
}

void Job::fail(const std::string& place) {
  if (!failure_.empty()) return;
  failure_ = fmt::format("prompt '{}': the model's logits are not finite at {}", request_.prompt.id,
                         place);
}

std::optional<data::FinishReason> Job::take(size_t sample, const Draw& draw) {
  data::Completion& completion = completions_[sample];
  completion.token_ids.push_back(draw.token);
  completion.logprobs.push_back(draw.logprob);
  completion.sampling_logprobs.push_back(draw.sampling_logprob);
  completion.token_versions.push_back(request_.policy_version);
  completion.experts.resize(completion.experts.size() + routing_width_, -1);
  if (request_.options.keep_sampling_mask) {
    completion.kept_ids.insert(completion.kept_ids.end(), draw.kept.begin(), draw.kept.end());
    completion.kept_counts.push_back(static_cast<int32_t>(draw.kept.size()));
  }
  if (stop_ids_.contains(draw.token)) return data::FinishReason::kStop;
  if (texts_[sample]) {
    new_text_[sample] += texts_[sample]->push(draw.token);
    if (texts_[sample]->stopped()) return data::FinishReason::kStop;
  }
  const size_t count = completion.token_ids.size();
  if (static_cast<int64_t>(count) >= completion_max_[sample]) return data::FinishReason::kLength;
  const bool pause = request_.pause_after > 0 &&
                     static_cast<int64_t>(count - begun_tokens_[sample]) >= request_.pause_after;
  return pause ? std::optional(data::FinishReason::kPaused) : std::nullopt;
}

void Job::end(size_t sample, data::FinishReason reason) {
  data::Completion& completion = completions_[sample];
  completion.finish_reason = reason;
  if (texts_[sample]) {
    new_text_[sample] += texts_[sample]->finish();
    completion.text = texts_[sample]->text();
    texts_[sample].reset();
  } else {
    const bool stop = reason == data::FinishReason::kStop && !completion.token_ids.empty() &&
                      stop_ids_.contains(completion.token_ids.back());
    completion.text = tokenizer_.decode(
        std::span(completion.token_ids).first(completion.token_ids.size() - (stop ? 1 : 0)),
        request_.options.skip_special_tokens);
  }
  ended_[sample] = true;
  ++num_ended_;
}

}  // namespace ponder::rollout
