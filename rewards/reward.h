// What a reward is: a rule that judges one completion of one prompt. Knows no model and no tensor.
// A reward never throws for what a completion says: that is an outcome, with a status and a reason
// a person can read.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/types.h"

namespace ponder::rewards {

// One reward's judgement.
struct Judgement {
  std::optional<double>
      value;  // none: not judged (our failure, an unusable reference); never 0 for that
  data::ScoreStatus status = data::ScoreStatus::kCrashed;
  std::string reason;
  std::map<std::string, double> parts{};  // more figures of a plugin, by name; not added
  bool abstains = false;  // no value because the reward does not apply (a plugin's None): the total
                          // goes without it
};

// A judgement without a value because the prompt's reference cannot be used.
Judgement refused(std::string reason);

// One completion to judge. Borrowed.
struct Sample {
  const data::Prompt* prompt = nullptr;
  const data::Completion* completion = nullptr;
};

class Reward {
 public:
  virtual ~Reward() = default;

  // Thread-safe; bounded in time by the size of the completion (a plugin: by its deadline).
  virtual Judgement judge(const data::Prompt& prompt, const data::Completion& completion) const = 0;

  // Judges many: out[i] belongs to samples[i]. Thread-safe. Rewards that gain from batches override
  // it.
  virtual std::vector<Judgement> judge_all(std::span<const Sample> samples) const;

  // Why this prompt's reference (answer, columns) cannot be used, or "" where it can: golds are
  // checked before training.
  virtual std::string problem_with(const data::Prompt& prompt) const;

  // Counters since the start (a plugin's restarts, time-outs, seconds), by name.
  virtual std::map<std::string, double> metrics() const;
};

// The reward that `spec` names: NAME, or NAME{key = value, ...} where the braces hold options as a
// TOML inline table. NAME is one of reward_names() or a plugin: a path that ends in ".so" (C ABI,
// reward_plugin.h), in ".py" or
// ".py:function" (Python), or a command line with a '/' or a blank in it (a program that speaks
// JSON lines). Throws UserError: an unknown name with the nearest one, wrong options, a plugin that
// does not load.
// `load_model` is what the reward "reward_model" loads with (model_reward.h); without it that name
// is refused.
//
// ScoreTexts: scores[i] is how good texts[i] is, in the model's own unit; may be called by several
// threads. LoadRewardModel loads one from a folder and throws UserError.
using ScoreTexts = std::function<std::vector<double>(const std::vector<std::string>& texts)>;
using LoadRewardModel = std::function<ScoreTexts(const std::filesystem::path& folder)>;
std::unique_ptr<Reward> make_reward(const std::string& spec,
                                    const LoadRewardModel& load_model = {});
std::vector<std::string> reward_names();

// The name under which a spec's values are reported: without options, a plugin's path without
// folders.
std::string part_name(const std::string& spec);

}  // namespace ponder::rewards
