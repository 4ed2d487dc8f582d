#include "recipes/grpo_rollout.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "core/random.h"
#include "core/timer.h"
#include "grpo/advantage.h"
#include "recipes/rollout_metrics.h"
#include "recipes/scoring_metrics.h"
#include "recipes/stopping.h"
#include "recipes/workers.h"

namespace ponder::recipes {

GrpoRollout::GrpoRollout(const GrpoRecipe& recipe, PromptSource& prompts,
                         const policy::Tokenizer& tokenizer, rollout::Engine& engine,
                         const rewards::Scorer& scorer, distributed::Group& group)
    : recipe_(recipe),
      prompts_(prompts),
      engine_(engine),
      group_(group),
      remote_(make_remote(recipe.rollout.remote, tokenizer)),
      scoring_(scorer, scoring_threads()),
      difficulty_(recipe.dataset.curriculum) {}

data::Json GrpoRollout::state() const {
  return {{"cursor", cursor_},
          {"skipped", skipped_},
          {"pass_rates", difficulty_.state()},
          {"data", prompts_.fingerprint()}};
}

void GrpoRollout::restore(const data::Json& state, std::vector<OpenGroup> paused) {
  if (group_.rank() == 0 && state.value("data", prompts_.fingerprint()) != prompts_.fingerprint()) {
    fmt::print(stderr,
               "ponder: warning: the training prompts of {} are not those that the checkpoint was "
               "made with: the run goes on with the new ones\n",
               recipe_.dataset.name);
  }
  paused_ = std::move(paused);
  cursor_ = state.at("cursor").get<int64_t>();
  skipped_ = state.at("skipped").get<int64_t>();
  difficulty_.restore(state.at("pass_rates"));
}

void GrpoRollout::undo() {
  undo_();
}

Rollout GrpoRollout::run(int64_t step, int64_t policy_version, const Say& say, bool may_stop) {
  may_stop_ = may_stop;
  if (may_stop) {
    undo_ = [this, difficulty = difficulty_, paused = paused_, cursor = cursor_,
             skipped = skipped_] {
      difficulty_ = difficulty;
      paused_ = paused;
      cursor_ = cursor;
      skipped_ = skipped;
    };
  }
  const GrpoOptions& o = recipe_.grpo;
  const auto wanted = static_cast<size_t>(o.prompts_per_step);
  Rollout out;
  const rollout::EngineStats before = engine_.stats();
  std::vector<data::ScoredGroup> all, last;
  std::set<std::string> taken;
  int64_t rounds = 0;
  for (const OpenGroup& open : paused_) taken.insert(open.group.prompt.id);
  while (out.groups.size() < wanted) {
    std::vector<OpenGroup> open = std::exchange(paused_, {});
    const auto missing =
        static_cast<int64_t>(wanted - out.groups.size()) - static_cast<int64_t>(open.size());
    for (OpenGroup& group : begin(next_prompts(missing, taken), step))
      open.push_back(std::move(group));
    if (open.empty()) break;  // the whole dataset was taken
    last = sample(open, o.partial_rollout_tokens, policy_version, out, say);
    if (out.cut_off) {
      undo();
      return out;
    }
    if (last.empty()) continue;  // all of them are paused: they go on at once
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
  if (recipe_.rollout.speculation != rollout::Speculation::kNone)
    out.metrics.merge(guess_metrics(before));
  if (o.partial_rollout_tokens > 0) {
    out.metrics["partial/groups"] = static_cast<double>(out.groups.size());
    out.metrics["partial/paused_groups"] = static_cast<double>(paused_.size());
  }
  if (prompts_.finite()) {
    out.metrics["curriculum/prompts"] = static_cast<double>(difficulty_.num_tracked());
    out.metrics["curriculum/never_passed"] = difficulty_.share_never();
    out.metrics["curriculum/always_passed"] = difficulty_.share_always();
    out.metrics["curriculum/skipped"] = static_cast<double>(skipped_);
    out.metrics["epoch"] = static_cast<double>(cursor_) / static_cast<double>(prompts_.size());
  }
  return out;
}

// What all workers have guessed since `before`. How many guess depends on how many sequences run on
// each.
Metrics GrpoRollout::guess_metrics(const rollout::EngineStats& before) {
  const rollout::EngineStats after = engine_.stats();
  const data::Json own = {after.guessed_tokens - before.guessed_tokens,
                          after.right_guesses - before.right_guesses};
  int64_t guessed = 0, right = 0;
  for (const data::Json& worker : gather_json(group_, own, "the guesses")) {
    guessed += worker[0].get<int64_t>();
    right += worker[1].get<int64_t>();
  }
  Metrics out = {{"perf/speculation/guessed_tokens", static_cast<double>(guessed)}};
  if (guessed > 0)
    out["perf/speculation/acceptance"] = static_cast<double>(right) / static_cast<double>(guessed);
  return out;
}

std::vector<data::ScoredGroup> GrpoRollout::peek(const Say& say) {
  may_stop_ = false;
  Rollout unused;
  return sample(begin({prompts_.at(cursor_)}, 1), 0, 0, unused, say);
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

std::vector<OpenGroup> GrpoRollout::begin(std::vector<data::Prompt> prompts, int64_t step) const {
  std::vector<OpenGroup> out;
  for (data::Prompt& prompt : prompts)
    out.push_back({{.prompt = std::move(prompt), .completions = {}}, step});
  return out;
}

namespace {

bool is_paused(const data::Completion& completion) {
  return completion.finish_reason == data::FinishReason::kPaused;
}

bool is_paused(const data::Group& group) {
  return std::any_of(group.completions.begin(), group.completions.end(),
                     [](const data::Completion& c) { return is_paused(c); });
}

// Where completions can be paused, a group goes to the scorer when the last of its completions has
// ended: before, it is not known whether it will be scored in this step.
class EndedGroups {
 public:
  EndedGroups(const std::vector<OpenGroup>& open, size_t samples) {
    for (const OpenGroup& group : open) {
      completions_.push_back(group.group.completions);
      completions_.back().resize(samples);
      const auto paused =
          std::count_if(group.group.completions.begin(), group.group.completions.end(),
                        [](const data::Completion& c) { return is_paused(c); });
      left_.push_back(group.group.completions.empty() ? samples : static_cast<size_t>(paused));
    }
  }

  // Sample j of group i has stopped; all of the group's where it was the last to end, else nullptr.
  const std::vector<data::Completion>* add(size_t i, size_t j, const data::Completion& completion) {
    if (is_paused(completion)) return nullptr;
    completions_[i][j] = completion;
    return --left_[i] == 0 ? &completions_[i] : nullptr;
  }

 private:
  std::vector<std::vector<data::Completion>> completions_;  // [groups][samples]
  std::vector<size_t> left_;                                // of each group, not ended
};

}  // namespace

// The groups that ended, of all workers; the others become paused_.
std::vector<data::ScoredGroup> GrpoRollout::sample(const std::vector<OpenGroup>& open,
                                                   int64_t pause_after, int64_t policy_version,
                                                   Rollout& rollout, const Say& say) {
  group_.doing("sampling");
  std::vector<OpenGroup> own;
  for (const size_t place : own_places(group_, open.size())) own.push_back(open[place]);
  auto sampled = sample_own(own, pause_after, policy_version, rollout, say);
  if (may_stop_ && agreed_stop(group_) != 0) {
    rollout.cut_off = true;
    return {};
  }
  std::vector<data::ScoredGroup> all = std::move(sampled).value();
  if (group_.size() > 1) {
    const core::PhaseTimer timer(rollout.seconds, "exchange");
    all = gather_groups(
        group_, std::move(all),
        open.size(), [&](size_t place) -> const auto& { return open[place].group.prompt; });
  }
  std::vector<data::ScoredGroup> ended;
  for (size_t i = 0; i < all.size(); ++i) {
    if (is_paused(all[i].group))
      paused_.push_back({std::move(all[i].group), open[i].round});
    else
      ended.push_back(std::move(all[i]));
  }
  return ended;
}

std::optional<std::vector<data::Group>> GrpoRollout::generate(
    const std::vector<OpenGroup>& open, int64_t pause_after, int64_t policy_version,
    const rollout::OnCompletion& on_completion) {
  const GrpoOptions& o = recipe_.grpo;
  std::vector<rollout::Request> requests;
  for (const OpenGroup& group : open) {
    requests.push_back({.prompt = group.group.prompt,
                        .options = {.rule = {.temperature = o.temperature,
                                             .top_k = o.top_k,
                                             .top_p = o.top_p,
                                             .min_p = o.min_p,
                                             .repetition_penalty = o.repetition_penalty},
                                    .num_generations = o.num_generations,
                                    .max_completion_length = o.max_completion_length,
                                    .seed = static_cast<uint64_t>(recipe_.seed),
                                    .round = static_cast<uint64_t>(group.round),
                                    .stop = o.stop_strings,
                                    .include_stop_str_in_output = !o.stop_strings.empty(),
                                    .keep_sampling_mask = o.keep_sampling_mask,
                                    .keep_routing = o.keep_routing},
                        .policy_version = policy_version,
                        .begun = group.group.completions,
                        .pause_after = pause_after});
  }
  if (!remote_ || requests.empty()) {
    if (may_stop_) return generate_unless_stopped(engine_, std::move(requests), on_completion);
    return engine_.generate(std::move(requests), on_completion);
  }
  // Nothing is ever paused at a server: all groups are of this step.
  std::vector<data::Prompt> prompts;
  for (const OpenGroup& group : open) prompts.push_back(group.group.prompt);
  return remote_->generate(prompts, requests[0].options, policy_version, on_completion);
}

// This worker's groups, those with a paused completion with empty scores; none: cut off.
std::optional<std::vector<data::ScoredGroup>> GrpoRollout::sample_own(
    const std::vector<OpenGroup>& open, int64_t pause_after, int64_t policy_version,
    Rollout& rollout, const Say& say) {
  const auto samples = static_cast<size_t>(recipe_.grpo.num_generations);
  scoring_.start(open.size(), samples);
  EndedGroups ended(open, samples);
  std::optional<std::vector<data::Group>> groups;
  {
    const core::PhaseTimer timer(rollout.seconds, "sample");
    size_t done = 0;
    groups = generate(open, pause_after, policy_version,
                      [&](size_t i, size_t j, const data::Completion& completion) {
                        const data::Prompt& prompt = open[i].group.prompt;
                        if (pause_after == 0) {
                          scoring_.submit(i, j, prompt, completion);
                        } else if (const auto* all = ended.add(i, j, completion)) {
                          for (size_t k = 0; k < samples; ++k)
                            scoring_.submit(i, k, prompt, (*all)[k]);
                        }
                        say(fmt::format("sampling {}/{}", ++done, open.size() * samples));
                      });
  }
  if (!groups) return std::nullopt;
  const core::PhaseTimer timer(rollout.seconds, "score");
  std::vector<std::vector<data::Score>> scores = scoring_.finish();
  std::vector<data::ScoredGroup> scored;
  for (size_t i = 0; i < groups->size(); ++i)
    scored.emplace_back(std::move((*groups)[i]), std::move(scores[i]));
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
