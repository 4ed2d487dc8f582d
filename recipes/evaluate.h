// How good a policy is on held-out problems: greedy and sampled accuracy, format share, mean
// length.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "data/types.h"
#include "distributed/group.h"
#include "policy/model.h"
#include "policy/tokenizer.h"
#include "rewards/scorer.h"
#include "rollout/engine.h"

namespace ponder::recipes {

// One pass over the problems, one completion each unless options.num_generations says more.
struct Evaluation {
  std::vector<data::ScoredGroup> groups;
  // "accuracy", "format" (each reward's mean by its name), "mean_length" (tokens).
  std::map<std::string, double> metrics;
  bool cut_off = false;  // by a stop signal to some worker: there is nothing of it
};

// Workers of a group share the problems; each gets the whole evaluation.
Evaluation evaluate(rollout::Engine& engine, const rewards::Scorer& scorer,
                    const std::vector<data::Prompt>& prompts, const rollout::SampleOptions& options,
                    distributed::Group& group);

// The metrics of a greedy and of a sampled (temperature 1) evaluation as they stand in
// metrics.jsonl: eval/accuracy, ..., and eval/sampled_accuracy, ...
std::map<std::string, double> evaluation_metrics(const Evaluation& greedy,
                                                 const Evaluation& sampled);

// Both evaluations of one step, sampled at temperature 1 and greedy; the greedy completions go to
// `file`, where it is not empty. None: cut off.
std::optional<std::map<std::string, double>> evaluate_both(
    rollout::Engine& engine, const rewards::Scorer& scorer,
    const std::vector<data::Prompt>& prompts, rollout::SampleOptions options, int64_t step,
    const std::filesystem::path& file, distributed::Group& group);

// One group as the line of a completions file (docs/ARCHITECTURE.md, "A run's folder").
// `advantages` may be empty.
std::string group_line(int64_t step, const data::ScoredGroup& group,
                       const std::vector<float>& advantages);

}  // namespace ponder::recipes
