#include "data/difficulty.h"

#include <algorithm>

namespace ponder::data {

void bind(core::Binder& b, CurriculumOptions& o) {
  b.field("min_pass_rate", o.min_pass_rate, "prompts that pass less often are taken rarely",
          {.low = 0, .high = 1});
  b.field("max_pass_rate", o.max_pass_rate, "prompts that pass more often are taken rarely",
          {.low = 0, .high = 1});
  b.field("resample", o.resample, "how likely such a prompt is taken when its turn comes",
          {.low = 0, .high = 1});
  b.field("decay", o.decay, "weight of a prompt's old pass rate against the newest",
          {.low = 0, .high = 0.999});
}

void Difficulty::observe(const std::string& prompt_id, int64_t passed, int64_t total) {
  PONDER_CHECK(total > 0 && passed >= 0 && passed <= total,
               "[Difficulty] {} of {} completions cannot have passed", passed, total);
  const double rate = static_cast<double>(passed) / static_cast<double>(total);
  const auto [entry, is_new] = rates_.try_emplace(prompt_id, rate);
  if (!is_new) entry->second = options_.decay * entry->second + (1 - options_.decay) * rate;
}

std::optional<double> Difficulty::pass_rate(const std::string& prompt_id) const {
  const auto found = rates_.find(prompt_id);
  return found == rates_.end() ? std::nullopt : std::optional<double>(found->second);
}

bool Difficulty::wants(const std::string& prompt_id, double uniform) const {
  const std::optional<double> rate = pass_rate(prompt_id);
  const bool fits = !rate || (*rate >= options_.min_pass_rate && *rate <= options_.max_pass_rate);
  return fits || uniform < options_.resample;
}

double Difficulty::share_never() const {
  if (rates_.empty()) return 0;
  const auto never =
      std::count_if(rates_.begin(), rates_.end(), [](const auto& e) { return e.second == 0; });
  return static_cast<double>(never) / static_cast<double>(rates_.size());
}

double Difficulty::share_always() const {
  if (rates_.empty()) return 0;
  const auto always =
      std::count_if(rates_.begin(), rates_.end(), [](const auto& e) { return e.second == 1; });
  return static_cast<double>(always) / static_cast<double>(rates_.size());
}

}  // namespace ponder::data
