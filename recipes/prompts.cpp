#include "recipes/prompts.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "core/random.h"
#include "core/spelling.h"
#include "data/decontaminate.h"

namespace ponder::recipes {
namespace {

bool is_task(const std::string& name) {
  const std::vector<std::string> names = data::task_names();
  return std::find(names.begin(), names.end(), name) != names.end();
}

// The chain sums come as the prompts that their corpus was written in; other tasks ask a question.
bool is_question(const std::string& name) {
  return name != "chain_sums";
}

// Held-out problems are the same for every seed of a run, so that seeds can be compared.
constexpr uint64_t kHeldOutSeed = 0;

void check_length(const data::Prompt& prompt, const std::string& place, int64_t context) {
  const auto length = static_cast<int64_t>(prompt.token_ids.size());
  if (length > 0 && length < context) return;
  core::throw_user(
      "{}: prompt '{}' has {} tokens, expected 1 to {}: the model's context is {} tokens", place,
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

std::vector<int64_t> epoch_order(int64_t count, uint64_t seed, int64_t epoch, bool shuffle) {
  std::vector<int64_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  if (!shuffle) return order;
  core::Rng rng(seed, core::stable_hash(fmt::format("epoch:{}", epoch)));
  for (int64_t i = count - 1; i > 0; --i) std::swap(order[i], order[rng.integer(0, i)]);
  return order;
}

// What the prompt says, without what a template puts around it.
std::string words_of(const data::Problem& problem) {
  if (problem.messages.is_null()) return problem.prompt.text;
  std::string text;
  for (const data::Json& message : problem.messages) {
    if (message.at("role") == "user" && message.at("content").is_string())
      text += message.at("content").get<std::string>() + '\n';
  }
  return text;
}

// Whether the hash of its words, as a number in [0, 1), falls into the share: a prompt that stands
// in a file twice is on one side.
bool is_test(const std::string& words, double share) {
  return core::uniform_at(0, core::stable_hash("split:" + words), 0, 0) < share;
}

std::vector<data::Problem> read_evaluation_set(const std::string& file,
                                               data::LayoutOptions layout) {
  layout.any_convention = true;
  return data::read_problems(file, "test", layout);
}

data::NgramSet evaluation_ngrams(const DatasetOptions& options) {
  data::NgramSet ngrams(options.decontaminate_ngram);
  for (const std::string& file : options.decontaminate) {
    for (const data::Problem& problem : read_evaluation_set(file, options.layout))
      ngrams.add(words_of(problem));
  }
  return ngrams;
}

void check_name(const std::string& name) {
  if (name.empty()) core::throw_user("dataset.name is empty: name a task or a file");
  if (std::filesystem::exists(name) || name.find_first_of("./") != std::string::npos) return;
  core::throw_user("dataset.name: '{}' is neither a file nor a task{}", name,
                   core::suggestion(name, data::task_names()));
}

// What only a file's prompts can have is an error beside a task, whose problems never come again.
void check_no_file_options(const DatasetOptions& options) {
  const data::CurriculumOptions &set = options.curriculum, plain{};
  if (set.min_pass_rate != plain.min_pass_rate || set.max_pass_rate != plain.max_pass_rate) {
    core::throw_user(
        "dataset.curriculum: the problems of the task {} never come again, they have no pass rate: "
        "leave min_pass_rate and max_pass_rate out, or train on a file",
        options.name);
  }
  if (!options.decontaminate.empty()) {
    core::throw_user(
        "dataset.decontaminate: the task {} makes its own problems and holds others out: leave it "
        "out, or train on a file",
        options.name);
  }
}

void check_curriculum(const data::CurriculumOptions& options) {
  if (options.min_pass_rate <= options.max_pass_rate) return;
  core::throw_user("dataset.curriculum: min_pass_rate {:g} is above max_pass_rate {:g}",
                   options.min_pass_rate, options.max_pass_rate);
}

}  // namespace

PromptSource::PromptSource(const DatasetOptions& options, uint64_t seed,
                           const policy::Tokenizer& tokenizer, int64_t context,
                           const std::filesystem::path& model_folder)
    : options_(options),
      seed_(seed),
      renderer_(options_, tokenizer, chat_template_of(model_folder)) {
  if (is_task(options_.name)) {
    data::check_task(options_.name, options_.tasks);
    check_no_file_options(options_);
    return;
  }
  check_name(options_.name);
  check_curriculum(options_.curriculum);
  read_files(context);
}

void PromptSource::read_files(int64_t context) {
  const data::NgramSet ngrams = evaluation_ngrams(options_);
  for (data::Problem& problem :
       data::read_problems(options_.name, options_.split, options_.layout)) {
    const std::string words = words_of(problem);
    if (ngrams.size() > 0 && ngrams.touches(words)) {
      ++num_decontaminated_;
      continue;
    }
    std::string place = std::move(problem.place);
    data::Prompt prompt = renderer_.render(std::move(problem), false);
    check_length(prompt, place, context);
    const bool test = is_test(words, options_.test_share);
    if (!test) {
      fingerprint_ = core::stable_hash(
          fmt::format("{}:{}:{}:{}", fingerprint_, prompt.id, prompt.text, prompt.answer.dump()));
    }
    (test ? held_out_ : train_).push_back(std::move(prompt));
    (test ? held_out_places_ : train_places_).push_back(std::move(place));
  }
  if (num_decontaminated_ > 0) {
    fmt::print(stderr,
               "ponder: {}: {} prompts share {} words in a row with an evaluation set and are left "
               "out\n",
               options_.name, num_decontaminated_, options_.decontaminate_ngram);
  }
  if (train_.empty()) {
    core::throw_user(
        "the dataset {} leaves nothing to train on: {} prompts are held out for evaluation, {} "
        "decontaminated",
        options_.name, held_out_.size(), num_decontaminated_);
  }
  warn_of_data(train_, held_out_, options_.name);
}

data::Prompt PromptSource::at(int64_t index) {
  if (is_task(options_.name)) {
    data::Problem problem;
    problem.prompt =
        data::task_problem(options_.name, seed_, index, options_.tasks, data::Split::kTrain);
    return renderer_.render(std::move(problem), is_question(options_.name));
  }
  const auto count = static_cast<int64_t>(train_.size());
  if (index / count != epoch_) {
    epoch_ = index / count;
    order_ = epoch_order(count, seed_, epoch_, options_.shuffle);
  }
  return train_[order_[index % count]];
}

std::vector<data::Prompt> PromptSource::held_out(int64_t count) const {
  if (!is_task(options_.name)) {
    return {held_out_.begin(), held_out_.begin() + std::min<int64_t>(count, held_out_.size())};
  }
  std::vector<data::Prompt> prompts;
  for (data::Prompt& prompt :
       data::held_out_problems(options_.name, kHeldOutSeed, count, options_.tasks)) {
    prompts.push_back(renderer_.render({.prompt = std::move(prompt), .messages = {}},
                                       is_question(options_.name)));
  }
  return prompts;
}

std::vector<data::Prompt> evaluation_prompts(const std::string& dataset, int64_t count,
                                             const policy::Tokenizer& tokenizer, int64_t context,
                                             DatasetOptions options,
                                             const std::filesystem::path& model_folder) {
  const Renderer renderer(options, tokenizer, chat_template_of(model_folder));
  const bool task = is_task(dataset);
  std::vector<data::Problem> problems;
  if (task) {
    for (data::Prompt& prompt :
         data::held_out_problems(dataset, kHeldOutSeed, count, options.tasks))
      problems.push_back({.prompt = std::move(prompt), .messages = {}});
  } else {
    problems = read_evaluation_set(dataset, options.layout);
    if (count < static_cast<int64_t>(problems.size())) problems.resize(count);
  }
  std::vector<data::Prompt> prompts;
  for (data::Problem& problem : problems) {
    const std::string place = task ? dataset : problem.place;
    prompts.push_back(renderer.render(std::move(problem), task && is_question(dataset)));
    check_length(prompts.back(), place, context);
  }
  return prompts;
}

}  // namespace ponder::recipes
