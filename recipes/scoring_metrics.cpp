#include "recipes/scoring_metrics.h"

#include <algorithm>
#include <thread>

#include "rewards/hacks.h"

namespace ponder::recipes {

std::map<std::string, double> scoring_metrics(const std::vector<data::ScoredGroup>& groups,
                                              const rewards::Scorer& scorer) {
  constexpr std::string_view kSeconds = "/seconds";
  std::map<std::string, double> out = rewards::hack_metrics(groups);
  for (const auto& [name, value] : scorer.metrics()) {
    if (name.ends_with(kSeconds)) {
      out["timing_s/" + name.substr(0, name.size() - kSeconds.size())] = value;
    } else {
      out["perf/" + name] = value;
    }
  }
  return out;
}

int scoring_threads() {
  constexpr int kLeast = 2, kMost = 16;
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), kLeast, kMost);
}

}  // namespace ponder::recipes
