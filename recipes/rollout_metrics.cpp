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

struct Passes {
  int64_t judged = 0, passed = 0;
};

Passes passes_of(const data::ScoredGroup& group) {
  Passes out;
  for (const data::Score& score : group.scores) {
    out.judged += score.value.has_value() ? 1 : 0;
    out.passed += score.value.has_value() && score.status == data::ScoreStatus::kOk ? 1 : 0;
  }
  return out;
}

// The mean over groups for which k completions were judged.
void add_passes(const std::vector<data::ScoredGroup>& groups, std::map<std::string, double>& out) {
  size_t largest = 0;
  for (const data::ScoredGroup& group : groups) largest = std::max(largest, group.scores.size());
  for (size_t k = 1; k <= largest; k *= 2) {
    double sum = 0, count = 0;
    for (const data::ScoredGroup& group : groups) {
      const Passes p = passes_of(group);
      if (p.judged < static_cast<int64_t>(k)) continue;
      sum += pass_at_k(p.judged, p.passed, static_cast<int64_t>(k));
      ++count;
    }
    if (count > 0) out["pass@" + std::to_string(k)] = sum / count;
  }
}

std::string domain_of(const data::Prompt& prompt, const std::string& column) {
  const auto found = prompt.columns.find(column);
  if (found == prompt.columns.end()) return "none";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

void add_domains(const std::vector<data::ScoredGroup>& groups, const std::string& column,
                 std::map<std::string, double>& out) {
  struct Sums {
    double completions = 0, judged = 0, passed = 0, reward = 0, length = 0;
  };
  std::map<std::string, Sums> domains;
  double total = 0;
  for (const data::ScoredGroup& group : groups) {
    Sums& sums = domains[domain_of(group.group.prompt, column)];
    const Passes p = passes_of(group);
    sums.judged += static_cast<double>(p.judged);
    sums.passed += static_cast<double>(p.passed);
    for (const data::Score& score : group.scores) sums.reward += score.value.value_or(0);
    for (const data::Completion& completion : group.group.completions)
      sums.length += static_cast<double>(completion.token_ids.size());
    sums.completions += static_cast<double>(group.scores.size());
    total += static_cast<double>(group.scores.size());
  }
  for (const auto& [domain, sums] : domains) {
    const std::string prefix = "domain/" + domain + "/";
    out[prefix + "share"] = sums.completions / total;
    out[prefix + "mean_length"] = sums.length / sums.completions;
    if (sums.judged == 0) continue;
    out[prefix + "reward"] = sums.reward / sums.judged;
    out[prefix + "pass@1"] = sums.passed / sums.judged;
  }
}

}  // namespace

double pass_at_k(int64_t n, int64_t c, int64_t k) {
  double none = 1;  // that all k fail: prod (n - c - i) / (n - i)
  for (int64_t i = 0; i < k; ++i)
    none *= std::max(0.0, static_cast<double>(n - c - i)) / static_cast<double>(n - i);
  return 1 - none;
}

std::map<std::string, double> staleness(const std::vector<data::ScoredGroup>& groups,
                                        int64_t policy_version) {
  double sum = 0, count = 0, max = 0;
  for (const data::ScoredGroup& group : groups) {
    for (const data::Completion& completion : group.group.completions) {
      const std::vector<int64_t> own = {completion.policy_version};
      for (const int64_t version :
           completion.token_versions.empty() ? own : completion.token_versions) {
        const auto age = static_cast<double>(policy_version - version);
        sum += age;
        max = std::max(max, age);
        ++count;
      }
    }
  }
  return {{"staleness/mean", count > 0 ? sum / count : 0}, {"staleness/max", max}};
}

std::map<std::string, double> rollout_metrics(const std::vector<data::ScoredGroup>& groups,
                                              const std::string& domain_column) {
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
  add_passes(groups, out);
  if (!domain_column.empty()) add_domains(groups, domain_column, out);
  return out;
}

}  // namespace ponder::recipes
