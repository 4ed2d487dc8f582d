#include "rewards/length.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <unordered_set>

#include "core/error.h"
#include "rewards/text.h"

namespace ponder::rewards {
namespace {

using data::ScoreStatus;

std::optional<int64_t> length_of(const data::Prompt& prompt, const data::Completion& completion) {
  if (!completion.token_ids.empty()) return static_cast<int64_t>(completion.token_ids.size());
  const auto column = prompt.columns.find("completion_tokens");
  if (column != prompt.columns.end() && column->is_number_integer() && *column >= 0)
    return column->get<int64_t>();
  return completion.text.empty() ? std::optional<int64_t>(0) : std::nullopt;
}

Judgement no_length() {
  return refused("no length: neither tokens nor a column completion_tokens");
}

}  // namespace

void bind(core::Binder& b, OverlongOptions& o) {
  b.field("max_length", o.max_length, "tokens from which on the punishment is -1", {.low = 1});
  b.field("cache", o.cache, "tokens before that over which it grows", {.low = 0});
}

SoftOverlong::SoftOverlong(const OverlongOptions& options) : options_(options) {
  if (options.cache > options.max_length)
    core::throw_user("overlong: cache {} is more than max_length {}", options.cache,
                     options.max_length);
}

Judgement SoftOverlong::judge(const data::Prompt& prompt,
                              const data::Completion& completion) const {
  const auto length = length_of(prompt, completion);
  if (!length) return no_length();
  const double expected = static_cast<double>(options_.max_length - options_.cache),
               over = static_cast<double>(*length) - expected;
  double value = 0;
  if (*length > options_.max_length) {
    value = -1;
  } else if (over > 0) {
    value = -over / static_cast<double>(options_.cache);
  }
  return {
      value, ScoreStatus::kOk,
      fmt::format("{} tokens, {} expected, {} at most", *length, expected, options_.max_length)};
}

void bind(core::Binder& b, CosineOptions& o) {
  b.field("accuracy", o.accuracy, "the reward that says whether the completion is right");
  b.field("max_length", o.max_length, "tokens at which the cosine ends", {.low = 1});
  b.field("min_value_wrong", o.min_value_wrong, "wrong, shortest");
  b.field("max_value_wrong", o.max_value_wrong, "wrong, longest");
  b.field("min_value_correct", o.min_value_correct, "right, longest");
  b.field("max_value_correct", o.max_value_correct, "right, shortest");
}

CosineLength::CosineLength(const CosineOptions& options)
    : options_(options), accuracy_(make_reward(options.accuracy)) {}

Judgement CosineLength::judge(const data::Prompt& prompt,
                              const data::Completion& completion) const {
  const auto length = length_of(prompt, completion);
  if (!length) return no_length();
  const Judgement accuracy = accuracy_->judge(prompt, completion);
  if (!accuracy.value) return accuracy;
  const bool right = accuracy.status == ScoreStatus::kOk;
  const double low = right ? options_.min_value_correct : options_.max_value_wrong;
  const double high = right ? options_.max_value_correct : options_.min_value_wrong;
  const double progress =
      std::min(1.0, static_cast<double>(*length) / static_cast<double>(options_.max_length));
  const double value = low + (high - low) * (1 + std::cos(std::numbers::pi * progress)) / 2;
  return {value, accuracy.status,
          fmt::format("{} with {} tokens of {}", right ? "right" : "wrong", *length,
                      options_.max_length)};
}

void bind(core::Binder& b, RepetitionOptions& o) {
  b.field("ngram", o.ngram, "words in a row", {.low = 1, .high = 100});
  b.field("max_penalty", o.max_penalty, "where all are repeated", {.high = 0});
}

Judgement RepetitionPenalty::judge(const data::Prompt&, const data::Completion& completion) const {
  const std::string text = text::lower(completion.text);
  const std::vector<std::string_view> words = text::words(text);
  const size_t n = static_cast<size_t>(options_.ngram);
  if (words.size() < n) return {0.0, ScoreStatus::kOk, fmt::format("{} words", words.size())};
  const size_t total = words.size() - n + 1;
  std::unordered_set<std::string> distinct;
  for (size_t i = 0; i < total; ++i) {
    std::string gram;
    for (size_t j = 0; j < n; ++j) gram.append(words[i + j]).append(" ");
    distinct.insert(std::move(gram));
  }
  const double repeated = 1 - static_cast<double>(distinct.size()) / static_cast<double>(total);
  return {repeated == 0 ? 0.0 : repeated * options_.max_penalty, ScoreStatus::kOk,
          fmt::format("{:.1f}% of {} {}-grams are repeats", repeated * 100, total, n)};
}

}  // namespace ponder::rewards
