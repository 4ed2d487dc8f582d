// The first half of a GRPO step: prompts -> groups of completions, scored while others still
// sample, until the rollout is full. Keeps the data's cursor and the prompts' difficulty.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "data/difficulty.h"
#include "data/types.h"
#include "distributed/group.h"
#include "recipes/options.h"
#include "recipes/prompts.h"
#include "recipes/stage.h"
#include "rewards/scorer.h"
#include "rollout/engine.h"
#include "rollout/generator.h"

namespace ponder::recipes {

struct Rollout {
  std::vector<data::ScoredGroup> groups;  // to be trained: at most prompts_per_step
  Metrics metrics;                        // of all that was sampled, dropped groups included
  std::map<std::string, double> seconds;  // "sample", "score"
  bool cut_off = false;                   // by a stop signal: nothing of it is to be used
};

// A group that is being sampled: its completions so far, or none.
struct OpenGroup {
  data::Group group;
  int64_t round = 0;  // the step it was begun in: tells its random numbers apart
};

class GrpoRollout {
 public:
  // Samples with the engine, or with the recipe's server, whose tokenizer is the policy's.
  // REQUIRES: all that is referred to outlives it.
  GrpoRollout(const GrpoRecipe& recipe, PromptSource& prompts, const policy::Tokenizer& tokenizer,
              rollout::Engine& engine, const rewards::Scorer& scorer, distributed::Group& group);

  // The rollout of step `step`, sampled by the engine's weights, which are version
  // `policy_version`. With filter_groups, groups without signal are dropped and others sampled
  // instead, up to max_num_gen_batches rounds; when no group at all has a signal, those of the last
  // round are handed on. No prompt is taken twice for one step. With partial_rollout_tokens, a
  // completion gets so many tokens at most; groups with one that has not ended go on in the next
  // step, before new prompts are begun, and the rollout may be smaller. Each worker samples and
  // scores its share of the groups; all end with the same rollout. With `may_stop` a stop signal to
  // any worker cuts it off on all, the state as before.
  Rollout run(int64_t step, int64_t policy_version, const Say& say, bool may_stop = false);

  // Back to the state before the last run(). REQUIRES: that one had `may_stop`.
  void undo();

  // One group of the next prompt, sampled and scored; nothing is counted.
  std::vector<data::ScoredGroup> peek(const Say& say);

  data::Json state() const;
  const std::vector<OpenGroup>& paused() const { return paused_; }
  void restore(const data::Json& state, std::vector<OpenGroup> paused);

 private:
  std::vector<data::Prompt> next_prompts(int64_t count, std::set<std::string>& taken);
  std::vector<OpenGroup> begin(std::vector<data::Prompt> prompts, int64_t step) const;
  std::vector<data::ScoredGroup> sample(const std::vector<OpenGroup>& open, int64_t pause_after,
                                        int64_t policy_version, Rollout& rollout, const Say& say);
  std::optional<std::vector<data::ScoredGroup>> sample_own(const std::vector<OpenGroup>& open,
                                                           int64_t pause_after,
                                                           int64_t policy_version, Rollout& rollout,
                                                           const Say& say);
  std::optional<std::vector<data::Group>> generate(const std::vector<OpenGroup>& open,
                                                   int64_t pause_after, int64_t policy_version,
                                                   const rollout::OnCompletion& on_completion);
  Metrics guess_metrics(const rollout::EngineStats& before);
  void observe(const std::vector<data::ScoredGroup>& groups);

  const GrpoRecipe& recipe_;
  PromptSource& prompts_;
  rollout::Engine& engine_;
  distributed::Group& group_;
  std::unique_ptr<rollout::Generator> remote_;  // where the recipe names a server
  rewards::ScoringPool scoring_;
  data::Difficulty difficulty_;
  std::vector<OpenGroup> paused_;
  int64_t cursor_ = 0;   // the next prompt's number
  int64_t skipped_ = 0;  // prompts that the curriculum passed over, in all
  bool may_stop_ = false;
  std::function<void()> undo_;
};

}  // namespace ponder::recipes
