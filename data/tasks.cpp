#include "data/tasks.h"

#include <algorithm>
#include <set>

#include "core/error.h"
#include "data/tasks/makers.h"

namespace ponder::data {
namespace {

std::optional<Prompt> make_chain_sum(core::Rng& rng, const ChainSumOptions& options) {
  return chain_sum_prompt(draw_chain_sum(rng, options));
}

// Enough for any options that leave problems at all.
constexpr int64_t kDrawsMax = 20'000;

// One task: its name, its options within TaskOptions and how a problem is made.
struct Task {
  const char* name;
  std::optional<Prompt> (*make)(core::Rng&, const TaskOptions&);
};

template <auto kMake, auto kOptions>
std::optional<Prompt> make(core::Rng& rng, const TaskOptions& options) {
  return kMake(rng, options.*kOptions);
}

constexpr Task kTasks[] = {
    {"chain_sums", make<make_chain_sum, &TaskOptions::chain_sums>},
    {"arithmetic", make<make_arithmetic, &TaskOptions::arithmetic>},
    {"countdown", make<make_countdown, &TaskOptions::countdown>},
    {"linear_equations", make<make_linear_equations, &TaskOptions::linear_equations>},
    {"logic", make<make_logic, &TaskOptions::logic>},
};

const Task& find(const std::string& name) {
  for (const Task& task : kTasks) {
    if (task.name == name) return task;
  }
  throw core::InternalError(fmt::format("[tasks] no task '{}'", name));
}

// None where kDrawsMax draws gave no problem of that split.
std::optional<Prompt> draw(const std::string& task, uint64_t seed, int64_t index,
                           const TaskOptions& options, Split split) {
  const Task& found = find(task);
  core::Rng rng(seed, core::stable_hash(fmt::format(
                          "{}:{}:{}", task, split == Split::kTrain ? "train" : "held_out", index)));
  for (int64_t i = 0; i < kDrawsMax; ++i) {
    std::optional<Prompt> prompt = found.make(rng, options);
    if (prompt && is_held_out(prompt->id) == (split == Split::kHeldOut)) return prompt;
  }
  return std::nullopt;
}

void check_order(const char* task, const char* low_key, int64_t low, const char* high_key,
                 int64_t high) {
  if (low <= high) return;
  core::throw_user("dataset.{}: {} {} is above {} {}", task, low_key, low, high_key, high);
}

}  // namespace

void bind(core::Binder& b, ArithmeticOptions& o) {
  b.field("min_terms", o.min_terms, "fewest numbers of a problem", {.low = 1, .high = 30});
  b.field("max_terms", o.max_terms, "most numbers of a problem", {.low = 1, .high = 30});
  b.field("max_digits", o.max_digits, "digits of the largest numbers", {.low = 1, .high = 12});
  b.field("operators", o.operators, "which of + - * /");
}

void bind(core::Binder& b, CountdownOptions& o) {
  b.field("min_numbers", o.min_numbers, "fewest numbers of a problem", {.low = 2, .high = 8});
  b.field("max_numbers", o.max_numbers, "most numbers of a problem", {.low = 2, .high = 8});
  b.field("max_number", o.max_number, "the largest number", {.low = 2, .high = 10000});
  b.field("max_target", o.max_target, "the largest target", {.low = 2, .high = 1000000});
}

void bind(core::Binder& b, LinearEquationOptions& o) {
  b.field("min_unknowns", o.min_unknowns, "fewest unknowns", {.low = 1, .high = 4});
  b.field("max_unknowns", o.max_unknowns, "most unknowns", {.low = 1, .high = 4});
  b.field("max_coefficient", o.max_coefficient, "largest coefficient, either sign",
          {.low = 1, .high = 999});
  b.field("max_solution", o.max_solution, "largest value of an unknown, either sign",
          {.low = 0, .high = 1000000});
}

void bind(core::Binder& b, LogicOptions& o) {
  b.field("min_people", o.min_people, "fewest people", {.low = 2, .high = 8});
  b.field("max_people", o.max_people, "most people", {.low = 2, .high = 8});
}

void bind(core::Binder& b, TaskOptions& o) {
  b.table("chain_sums", o.chain_sums);
  b.table("arithmetic", o.arithmetic);
  b.table("countdown", o.countdown);
  b.table("linear_equations", o.linear_equations);
  b.table("logic", o.logic);
}

std::string listed(const std::vector<std::string>& items) {
  std::string text;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) text += i + 1 == items.size() ? " and " : ", ";
    text += items[i];
  }
  return text;
}

std::vector<std::string> task_names() {
  std::vector<std::string> names;
  for (const Task& task : kTasks) names.emplace_back(task.name);
  return names;
}

void check_task(const std::string& task, const TaskOptions& o) {
  if (task == "chain_sums")
    check_order("chain_sums", "min_terms", o.chain_sums.min_terms, "max_terms",
                o.chain_sums.max_terms);
  if (task == "arithmetic") {
    check_order("arithmetic", "min_terms", o.arithmetic.min_terms, "max_terms",
                o.arithmetic.max_terms);
    if (o.arithmetic.operators.empty() ||
        o.arithmetic.operators.find_first_not_of("+-*/") != std::string::npos) {
      core::throw_user("dataset.arithmetic: operators '{}': expected some of + - * /",
                       o.arithmetic.operators);
    }
  }
  if (task == "countdown")
    check_order("countdown", "min_numbers", o.countdown.min_numbers, "max_numbers",
                o.countdown.max_numbers);
  if (task == "linear_equations")
    check_order("linear_equations", "min_unknowns", o.linear_equations.min_unknowns, "max_unknowns",
                o.linear_equations.max_unknowns);
  if (task == "logic")
    check_order("logic", "min_people", o.logic.min_people, "max_people", o.logic.max_people);
  task_problem(task, 0, 0, o, Split::kTrain);
}

Prompt task_problem(const std::string& task, uint64_t seed, int64_t index,
                    const TaskOptions& options, Split split) {
  if (auto prompt = draw(task, seed, index, options, split)) return *std::move(prompt);
  core::throw_user(
      "dataset.{}: none of {} draws gave a problem {}: allow more of them by wider options", task,
      kDrawsMax, split == Split::kTrain ? "to train on" : "that is held out");
}

std::vector<Prompt> held_out_problems(const std::string& task, uint64_t seed, int64_t count,
                                      const TaskOptions& options) {
  std::vector<Prompt> prompts;
  std::set<std::string> seen;
  // Easy problems are few: many draws without a new one mean that there are no more.
  const int64_t draws_max = 1000 + 20 * count;
  for (int64_t index = 0; static_cast<int64_t>(prompts.size()) < count && index < draws_max;
       ++index) {
    auto prompt = draw(task, seed, index, options, Split::kHeldOut);
    if (!prompt) break;
    if (seen.insert(prompt->id).second) prompts.push_back(*std::move(prompt));
  }
  return prompts;
}

}  // namespace ponder::data
