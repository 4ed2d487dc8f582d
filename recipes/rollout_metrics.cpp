#include "recipes/rollout_metrics.h"

#include <algorithm>
#include <numeric>

namespace ponder::recipes {
namespace {

void add_lengths(const std::string& suffix, const std::vector<double>& lengths,
                 std::map<std::string, double>& out) {
  if (lengths.empty()) return;
  const double sum = std::accumulate(lengths.begin(), lengths.end(), 0.0);
  out["completions/mean_" + suffix] = sum / static_cast<double>(lengths.size());
  out["completions/min_" + suffix] = *std::min_element(lengths.begin(), lengths.end());
  out["completions/max_" + suffix] = *std::max_element(lengths.begin(), lengths.end());
}

}  // namespace

std::map<std::string, double> rollout_metrics(const std::vector<data::ScoredGroup>& groups) {
  std::vector<double> lengths, terminated;
  std::map<std::string, double> out;
  double count = 0;
  for (const data::ScoredGroup& scored : groups) {
    for (const data::Completion& completion : scored.group.completions) {
      lengths.push_back(static_cast<double>(completion.token_ids.size()));
      if (completion.finish_reason == data::FinishReason::kStop)
        terminated.push_back(lengths.back());
    }
    for (const data::Score& score : scored.scores) {
      ++out[std::string("rewards/status/") + data::name_of(score.status)];
      ++count;
    }
  }
  for (auto& [name, value] : out) value /= count;
  add_lengths("length", lengths, out);
  add_lengths("terminated_length", terminated, out);
  if (count > 0)
    out["completions/clipped_ratio"] = 1 - static_cast<double>(terminated.size()) / count;
  out["completions/total_length"] = std::accumulate(lengths.begin(), lengths.end(), 0.0);
  return out;
}

}  // namespace ponder::recipes
