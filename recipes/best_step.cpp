#include "recipes/best_step.h"

#include <cmath>

#include "core/error.h"
#include "core/metrics.h"
#include "core/spelling.h"

namespace ponder::recipes {

BestStep::BestStep(const SaveOptions& options, const std::filesystem::path& metrics_file)
    : options_(options) {
  if (options_.metric_for_best_model.empty() || !std::filesystem::exists(metrics_file)) return;
  for (const core::StepRecord& record : core::read_metrics(metrics_file))
    observe(record.step, record.metrics);
}

void BestStep::observe(int64_t step, const Metrics& metrics) {
  const auto found = metrics.find(options_.metric_for_best_model);
  if (step == 0 || found == metrics.end() || !std::isfinite(found->second)) return;
  const bool better = options_.greater_is_better ? found->second > value_ : found->second < value_;
  if (step_ != 0 && !better) return;
  step_ = step;
  value_ = found->second;
}

void BestStep::see_names(const Metrics& metrics) {
  for (const auto& [name, value] : metrics) names_.insert(name);
}

void BestStep::check_name() const {
  const std::string& name = options_.metric_for_best_model;
  if (name.empty() || names_.contains(name)) return;
  core::throw_user("save.metric_for_best_model: this run has no metric '{}'{}", name,
                   core::suggestion(name, {names_.begin(), names_.end()}));
}

}  // namespace ponder::recipes
