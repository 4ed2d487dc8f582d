// How hard each prompt is for the policy, measured on the way: its pass rate, and a curriculum that
// spends the samples where they teach. Knows prompts by their ids alone.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "core/recipe.h"
#include "data/types.h"

namespace ponder::data {

// A prompt whose pass rate is known and lies outside [min_pass_rate, max_pass_rate] is taken only
// with the probability `resample` each time its turn comes; one that was never sampled always.
struct CurriculumOptions {
  double min_pass_rate = 0;  // below: too hard
  double max_pass_rate = 1;  // above: solved
  double resample = 0.1;     // so that a prompt is seen again when the policy has changed
  double decay = 0.5;        // of the old rate when a new one is measured; 0: the last one counts
};
void bind(core::Binder& b, CurriculumOptions& options);

class Difficulty {
 public:
  explicit Difficulty(const CurriculumOptions& options) : options_(options) {}

  // A group of `prompt_id` was sampled: `passed` of `total` completions got full marks. REQUIRES:
  // total > 0.
  void observe(const std::string& prompt_id, int64_t passed, int64_t total);

  // The exponential mean of the measured rates; none before the first.
  std::optional<double> pass_rate(const std::string& prompt_id) const;

  // Whether the prompt is to be sampled now; `uniform` in [0, 1) decides where chance does.
  bool wants(const std::string& prompt_id, double uniform) const;

  int64_t num_tracked() const { return static_cast<int64_t>(rates_.size()); }
  // Shares of the tracked prompts with a rate of 0, and of 1.
  double share_never() const;
  double share_always() const;

  Json state() const { return rates_; }
  void restore(const Json& state) { rates_ = state.get<std::map<std::string, double>>(); }

 private:
  CurriculumOptions options_;
  std::map<std::string, double> rates_;
};

}  // namespace ponder::data
