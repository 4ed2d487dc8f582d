#include "recipes/batch_arithmetic.h"

#include <vector>

#include <fmt/format.h>

#include "core/error.h"

namespace ponder::recipes {
namespace {

// The divisors of `whole` next to `wanted`, the smaller first: "8 or 16".
std::string nearest_divisors(int64_t whole, int64_t wanted) {
  int64_t below = 1, above = whole;
  for (int64_t d = 1; d <= whole; ++d) {
    if (whole % d != 0) continue;
    if (d < wanted) below = d;
    if (d > wanted) {
      above = d;
      break;
    }
  }
  return below == above || wanted > whole ? fmt::format("{}", whole)
                                          : fmt::format("{} or {}", below, above);
}

std::string grouped(int64_t value) {
  if (value < 1000) return std::to_string(value);
  return fmt::format("{},{:03}", grouped(value / 1000), value % 1000);
}

std::string plural(int64_t count, const char* one, const char* many) {
  return fmt::format("{} {}", grouped(count), count == 1 ? one : many);
}

bool needs_groups(grpo::Estimator estimator) {
  return estimator != grpo::Estimator::kReinforcePlusPlus;
}

}  // namespace

void check_batch_arithmetic(const GrpoRecipe& recipe, int64_t num_prompts) {
  const GrpoOptions& o = recipe.grpo;
  const int64_t sequences = o.prompts_per_step * o.num_generations;
  if (sequences % o.steps_per_generation != 0) {
    core::throw_user(
        "grpo.steps_per_generation: {} prompts x {} completions = {} sequences cannot be cut into "
        "{} "
        "equal mini-batches: set it to {}",
        o.prompts_per_step, o.num_generations, sequences, o.steps_per_generation,
        nearest_divisors(sequences, o.steps_per_generation));
  }
  if (o.num_generations == 1 && needs_groups(o.advantage.estimator)) {
    core::throw_user(
        "grpo.num_generations: a group of 1 has no baseline, every advantage would be 0: set it to "
        "2 "
        "or more, or grpo.advantage.estimator to reinforce_plus_plus");
  }
  if (num_prompts > 0 && o.prompts_per_step > num_prompts) {
    core::throw_user(
        "grpo.prompts_per_step: {} prompts a step, but the dataset has {} to train on: set it to "
        "{} "
        "or less",
        o.prompts_per_step, num_prompts, num_prompts);
  }
}

std::string worker_shares(const GrpoRecipe& recipe, int workers) {
  if (workers == 1) return "";
  const GrpoOptions& o = recipe.grpo;
  const int64_t prompts = o.prompts_per_step, least = prompts / workers,
                most = (prompts + workers - 1) / workers;
  const std::string completions = plural(o.num_generations, "completion", "completions");
  if (least == most) {
    return fmt::format("{} workers: {} x {} = {} sequences each", workers,
                       plural(least, "prompt", "prompts"), completions,
                       grouped(least * o.num_generations));
  }
  const std::string even = least == 0 ? fmt::format("{}", workers)
                                      : fmt::format("{} or {}", least * workers, most * workers);
  return fmt::format(
      "{} workers: {} or {} x {} each, the others wait for those with more: even with {} workers, "
      "or grpo.prompts_per_step = {}",
      workers, grouped(least), plural(most, "prompt", "prompts"), completions,
      nearest_divisors(prompts, workers), even);
}

std::string batch_arithmetic(const GrpoRecipe& recipe, int64_t num_prompts) {
  const GrpoOptions& o = recipe.grpo;
  const int64_t sequences = o.prompts_per_step * o.num_generations,
                updates = o.num_iterations * o.steps_per_generation;
  std::string text = fmt::format(
      "a step: {} x {} = {} sequences; {} x {} of {} = {}\n{}: {}, {}, {} of at most {}",
      plural(o.prompts_per_step, "prompt", "prompts"),
      plural(o.num_generations, "completion", "completions"), grouped(sequences),
      plural(o.num_iterations, "pass", "passes"),
      plural(o.steps_per_generation, "mini-batch", "mini-batches"),
      grouped(sequences / o.steps_per_generation), plural(updates, "update", "updates"),
      plural(o.max_steps, "step", "steps"), plural(o.max_steps * updates, "update", "updates"),
      plural(o.max_steps * o.prompts_per_step, "prompt", "prompts"),
      plural(o.max_steps * sequences, "completion", "completions"),
      plural(o.max_completion_length, "token", "tokens"));
  if (num_prompts > 0) {
    text += fmt::format(
        "; {:.2g} epochs of {}",
        static_cast<double>(o.max_steps * o.prompts_per_step) / static_cast<double>(num_prompts),
        plural(num_prompts, "prompt", "prompts"));
  }
  return text;
}

}  // namespace ponder::recipes
