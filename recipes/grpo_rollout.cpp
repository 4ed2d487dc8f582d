#include "recipes/grpo_rollout.h"

#include <fmt/format.h>

#include "core/timer.h"

namespace ponder::recipes {

GrpoRollout::GrpoRollout(const GrpoOptions& options, int64_t seed, PromptSource& prompts,
                         rollout::Engine& engine, const rewards::Scorer& scorer)
    : options_(options), seed_(seed), prompts_(prompts), engine_(engine), scoring_(scorer, 1) {}

std::vector<data::ScoredGroup> GrpoRollout::run(int64_t step, int64_t policy_version,
                                                std::map<std::string, double>& seconds,
                                                const Say& say) {
  std::vector<data::Prompt> prompts;
  for (int64_t i = 0; i < options_.prompts_per_step; ++i)
    prompts.push_back(prompts_.at((step - 1) * options_.prompts_per_step + i));
  const rollout::SampleOptions sampling{.rule = {.temperature = options_.temperature},
                                        .num_generations = options_.num_generations,
                                        .max_completion_length = options_.max_completion_length,
                                        .seed = static_cast<uint64_t>(seed_),
                                        .round = static_cast<uint64_t>(step)};
  scoring_.start(prompts.size(), options_.num_generations);
  std::vector<data::Group> groups;
  {
    const core::PhaseTimer timer(seconds, "sample");
    const int64_t total = options_.prompts_per_step * options_.num_generations;
    int64_t done = 0;
    // A completion goes to the scorer the moment it ends.
    groups = engine_.generate(prompts, sampling, policy_version,
                              [&](size_t i, size_t j, const data::Completion& completion) {
                                scoring_.submit(i, j, prompts[i], completion);
                                say(fmt::format("sampling {}/{}", ++done, total));
                              });
  }
  const core::PhaseTimer timer(seconds, "score");
  std::vector<std::vector<data::Score>> scores = scoring_.finish();
  std::vector<data::ScoredGroup> scored;
  for (size_t i = 0; i < groups.size(); ++i)
    scored.emplace_back(std::move(groups[i]), std::move(scores[i]));
  return scored;
}

}  // namespace ponder::recipes
