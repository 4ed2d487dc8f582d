#include "recipes/prompts.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "core/random.h"
#include "data/dataset.h"

namespace ponder::recipes {
namespace {

bool is_task(const std::string& name) {
  const std::vector<std::string> names = data::task_names();
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Held-out problems are the same for every seed of a run, so that seeds can be compared.
constexpr uint64_t kHeldOutSeed = 0;

void check_length(const data::Prompt& prompt, const std::string& file, int64_t context) {
  const auto length = static_cast<int64_t>(prompt.token_ids.size());
  if (length > 0 && length < context) return;
  core::throw_user(
      "{}: prompt '{}' has {} tokens, expected 1 to {}: the model's context is {} tokens", file,
      prompt.id, length, context - 1, context);
}

// What a person should know before the training starts.
void warn_of_data(const std::vector<data::Prompt>& train, const std::vector<data::Prompt>& held_out,
                  const std::string& file) {
  const auto unanswered = std::count_if(train.begin(), train.end(), [](const data::Prompt& prompt) {
    return prompt.answer.is_null();
  });
  if (unanswered > 0) {
    fmt::print(stderr, "ponder: warning: {}: {} of {} prompts have no answer to compare with\n",
               file, unanswered, train.size());
  }
  if (held_out.empty()) {
    fmt::print(stderr,
               "ponder: warning: {}: none of its prompts is held out: no evaluation unless "
               "eval.dataset names a file\n",
               file);
  }
}

std::vector<int64_t> shuffled(int64_t count, uint64_t seed, int64_t epoch) {
  std::vector<int64_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  core::Rng rng(seed, core::stable_hash(fmt::format("epoch:{}", epoch)));
  for (int64_t i = count - 1; i > 0; --i) std::swap(order[i], order[rng.integer(0, i)]);
  return order;
}

}  // namespace

PromptSource::PromptSource(const DatasetOptions& options, uint64_t seed,
                           const policy::Tokenizer& tokenizer, int64_t context)
    : options_(options), seed_(seed), tokenizer_(tokenizer) {
  if (is_task(options_.name)) {
    data::check_task(options_.name, options_.tasks);
    return;
  }
  if (options_.name.empty()) core::throw_user("dataset.name is empty: name a task or a JSONL file");
  for (data::Prompt& prompt : data::read_prompts(options_.name)) {
    check_length(encoded(prompt), options_.name, context);
    (data::is_held_out(prompt.id) ? held_out_ : train_).push_back(std::move(prompt));
  }
  if (train_.empty()) {
    core::throw_user(
        "the dataset {} leaves nothing to train on: all of its {} prompts are held out for "
        "evaluation",
        options_.name, held_out_.size());
  }
  warn_of_data(train_, held_out_, options_.name);
}

data::Prompt PromptSource::encoded(data::Prompt prompt) const {
  prompt.token_ids = tokenizer_.encode(prompt.text);
  return prompt;
}

data::Prompt PromptSource::at(int64_t index) {
  if (is_task(options_.name)) {
    return encoded(
        data::task_problem(options_.name, seed_, index, options_.tasks, data::Split::kTrain));
  }
  const auto count = static_cast<int64_t>(train_.size());
  if (index / count != epoch_) {
    epoch_ = index / count;
    order_ = shuffled(count, seed_, epoch_);
  }
  return encoded(train_[order_[index % count]]);
}

std::vector<data::Prompt> PromptSource::held_out(int64_t count) const {
  std::vector<data::Prompt> prompts;
  if (is_task(options_.name)) {
    prompts = data::held_out_problems(options_.name, kHeldOutSeed, count, options_.tasks);
  } else {
    prompts.assign(held_out_.begin(),
                   held_out_.begin() + std::min<int64_t>(count, held_out_.size()));
  }
  for (data::Prompt& prompt : prompts) prompt = encoded(std::move(prompt));
  return prompts;
}

std::vector<data::Prompt> evaluation_prompts(const std::string& dataset, int64_t count,
                                             const policy::Tokenizer& tokenizer) {
  std::vector<data::Prompt> prompts;
  if (is_task(dataset)) {
    prompts = data::held_out_problems(dataset, kHeldOutSeed, count, {});
  } else {
    prompts = data::read_prompts(dataset);
    if (count < static_cast<int64_t>(prompts.size())) prompts.resize(count);
  }
  for (data::Prompt& prompt : prompts) prompt.token_ids = tokenizer.encode(prompt.text);
  return prompts;
}

}  // namespace ponder::recipes
