#include "recipes/grpo_rollout.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/random.h"
#include "core/timer.h"
#include "grpo/advantage.h"
#include "recipes/rollout_metrics.h"
#include "recipes/scoring_metrics.h"

namespace ponder::recipes {

GrpoRollout::GrpoRollout(const GrpoRecipe& recipe, PromptSource& prompts, rollout::Engine& engine,
                         const rewards::Scorer& scorer)
    : recipe_(recipe),
      prompts_(prompts),
      engine_(engine),
      scoring_(scorer, scoring_threads()),
      difficulty_(recipe.dataset.curriculum) {}

data::Json GrpoRollout::state() const {
  return {{"cursor", cursor_}, {"skipped", skipped_}, {"pass_rates", difficulty_.state()}};
}

void GrpoRollout::restore(const data::Json& state) {
  cursor_ = state.at("cursor").get<int64_t>();
  skipped_ = state.at("skipped").get<int64_t>();
  difficulty_.restore(state.at("pass_rates"));
}

Rollout GrpoRollout::run(int64_t step, int64_t policy_version, const Say& say) {
  const GrpoOptions& o = recipe_.grpo;
  const auto wanted = static_cast<size_t>(o.prompts_per_step);
  Rollout out;
  std::vector<data::ScoredGroup> all, last;
  std::set<std::string> taken;
  int64_t rounds = 0;
  while (out.groups.size() < wanted) {
    const auto prompts = next_prompts(static_cast<int64_t>(wanted - out.groups.size()), taken);
    if (prompts.empty()) break;  // the whole dataset was taken
    last = sample(prompts, step, policy_version, out, say);
    observe(last);
    ++rounds;
    for (const data::ScoredGroup& group : last) {
      if (!o.filter_groups.enable || grpo::has_signal(group)) out.groups.push_back(group);
    }
    if (o.filter_groups.enable) all.insert(all.end(), last.begin(), last.end());
    if (!o.filter_groups.enable || rounds == o.filter_groups.max_num_gen_batches) break;
  }
  const std::vector<data::ScoredGroup>& sampled = o.filter_groups.enable ? all : out.groups;
  out.metrics = rollout_metrics(sampled, recipe_.dataset.domain_column);
  if (o.filter_groups.enable) {
    // What was dropped counts in the rewards' means, else they would flatter.
    out.metrics.merge(grpo::compute_advantages(sampled, o.advantage).metrics);
    out.metrics["filter_groups/num_gen_batches"] = static_cast<double>(rounds);
    out.metrics["filter_groups/num_prompts"] = static_cast<double>(sampled.size());
    out.metrics["filter_groups/kept_share"] =
        static_cast<double>(out.groups.size()) / static_cast<double>(sampled.size());
  }
  if (out.groups.empty()) out.groups = std::move(last);
  if (prompts_.finite()) {
    out.metrics["curriculum/prompts"] = static_cast<double>(difficulty_.num_tracked());
    out.metrics["curriculum/never_passed"] = difficulty_.share_never();
    out.metrics["curriculum/always_passed"] = difficulty_.share_always();
    out.metrics["curriculum/skipped"] = static_cast<double>(skipped_);
    out.metrics["epoch"] = static_cast<double>(cursor_) / static_cast<double>(prompts_.size());
  }
  return out;
}

// The next prompts that the curriculum wants. After one epoch's worth of refusals the next is taken
// as it comes: a run must not stand still.
std::vector<data::Prompt> GrpoRollout::next_prompts(int64_t count, std::set<std::string>& taken) {
  std::vector<data::Prompt> out;
  int64_t refused = 0;
  const int64_t refused_max = prompts_.finite() ? prompts_.size() : 0;
  while (static_cast<int64_t>(out.size()) < count) {
    if (prompts_.finite() && static_cast<int64_t>(taken.size()) == prompts_.size()) break;
    data::Prompt prompt = prompts_.at(cursor_);
    const double uniform =
        core::uniform_at(static_cast<uint64_t>(recipe_.seed), core::stable_hash("curriculum"),
                         static_cast<uint32_t>(cursor_ >> 32), static_cast<uint32_t>(cursor_));
    ++cursor_;
    if (taken.contains(prompt.id)) continue;
    if (refused < refused_max && !difficulty_.wants(prompt.id, uniform)) {
      ++refused;
      ++skipped_;
      continue;
    }
    taken.insert(prompt.id);
    out.push_back(std::move(prompt));
  }
  return out;
}

std::vector<data::ScoredGroup> GrpoRollout::sample(const std::vector<data::Prompt>& prompts,
                                                   int64_t step, int64_t policy_version,
                                                   Rollout& rollout, const Say& say) {
  const GrpoOptions& o = recipe_.grpo;
  const rollout::SampleOptions sampling{.rule = {.temperature = o.temperature},
                                        .num_generations = o.num_generations,
                                        .max_completion_length = o.max_completion_length,
                                        .seed = static_cast<uint64_t>(recipe_.seed),
                                        .round = static_cast<uint64_t>(step)};
  scoring_.start(prompts.size(), o.num_generations);
  std::vector<data::Group> groups;
  {
    const core::PhaseTimer timer(rollout.seconds, "sample");
    const size_t total = prompts.size() * static_cast<size_t>(o.num_generations);
    size_t done = 0;
    // A completion goes to the scorer the moment it ends.
    groups = engine_.generate(prompts, sampling, policy_version,
                              [&](size_t i, size_t j, const data::Completion& completion) {
                                scoring_.submit(i, j, prompts[i], completion);
                                say(fmt::format("sampling {}/{}", ++done, total));
                              });
  }
  const core::PhaseTimer timer(rollout.seconds, "score");
  std::vector<std::vector<data::Score>> scores = scoring_.finish();
  std::vector<data::ScoredGroup> scored;
  for (size_t i = 0; i < groups.size(); ++i)
    scored.emplace_back(std::move(groups[i]), std::move(scores[i]));
  return scored;
}

// A task's problems never come again: only a dataset's prompts are kept account of.
void GrpoRollout::observe(const std::vector<data::ScoredGroup>& groups) {
  if (!prompts_.finite()) return;
  for (const data::ScoredGroup& group : groups) {
    const auto judged = std::count_if(group.scores.begin(), group.scores.end(),
                                      [](const data::Score& s) { return s.value.has_value(); });
    const auto passed =
        std::count_if(group.scores.begin(), group.scores.end(), [](const data::Score& s) {
          return s.value.has_value() && s.status == data::ScoreStatus::kOk;
        });
    if (judged > 0) difficulty_.observe(group.group.prompt.id, passed, judged);
  }
}

}  // namespace ponder::recipes
