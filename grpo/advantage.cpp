#include "grpo/advantage.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/error.h"
#include "core/spelling.h"

namespace ponder::grpo {
namespace {

constexpr double kStdEpsilon = 1e-4;  // TRL
constexpr double kZeroStd = 1e-8;     // torch.isclose(std, 0)

using Value = std::optional<double>;           // none: not judged
using Rows = std::vector<std::vector<Value>>;  // [groups][completions]

struct Moments {
  int64_t count = 0;
  double mean = 0;
  Value deviation;  // Bessel-corrected; none for fewer than two values
};

Moments moments(const std::vector<Value>& values) {
  Moments m;
  double sum = 0, squares = 0;
  for (const Value& v : values) {
    if (v) ++m.count, sum += *v;
  }
  if (m.count > 0) m.mean = sum / static_cast<double>(m.count);
  for (const Value& v : values) {
    if (v) squares += (*v - m.mean) * (*v - m.mean);
  }
  if (m.count > 1) m.deviation = std::sqrt(squares / static_cast<double>(m.count - 1));
  return m;
}

std::vector<Value> flat(const Rows& rows) {
  std::vector<Value> all;
  for (const auto& row : rows) all.insert(all.end(), row.begin(), row.end());
  return all;
}

// (x - mean) / (deviation + 1e-4), none where the deviation is: a single value says nothing.
Rows whitened(Rows rows) {
  const Moments m = moments(flat(rows));
  for (auto& row : rows) {
    for (Value& v : row) {
      if (v && m.deviation)
        v = (*v - m.mean) / (*m.deviation + kStdEpsilon);
      else
        v.reset();
    }
  }
  return rows;
}

Rows less_group_mean(Rows rows) {
  for (auto& row : rows) {
    const Moments m = moments(row);
    for (Value& v : row) {
      if (v) *v -= m.mean;
    }
  }
  return rows;
}

// A = (r - mean_g) / (std + 1e-4), DeepSeekMath §4.1.2, with TRL's choices of std.
Rows group_advantages(const Rows& totals, ScaleRewards scale) {
  const Value batch_deviation = moments(flat(totals)).deviation;
  Rows advantages = less_group_mean(totals);
  if (scale == ScaleRewards::kNone) return advantages;
  for (size_t g = 0; g < totals.size(); ++g) {
    const Value deviation =
        scale == ScaleRewards::kBatch ? batch_deviation : moments(totals[g]).deviation;
    for (Value& v : advantages[g]) {
      if (v && deviation)
        *v /= *deviation + kStdEpsilon;
      else
        v.reset();
    }
  }
  return advantages;
}

// A_i = r_i - mean of the others, RLOO (arXiv:2402.14740) = (r_i - mean) n / (n - 1).
Rows leave_one_out(const Rows& totals) {
  Rows advantages = less_group_mean(totals);
  for (auto& row : advantages) {
    const auto n = static_cast<double>(moments(row).count);
    for (Value& v : row) {
      if (v && n > 1)
        *v *= n / (n - 1);
      else
        v.reset();
    }
  }
  return advantages;
}

Rows totals_of(std::span<const data::ScoredGroup> groups) {
  Rows rows;
  for (const auto& group : groups) {
    auto& row = rows.emplace_back();
    for (const auto& score : group.scores) row.push_back(score.value);
  }
  return rows;
}

std::vector<std::string> part_names(std::span<const data::ScoredGroup> groups) {
  std::map<std::string, bool> names;
  for (const auto& group : groups) {
    for (const auto& score : group.scores) {
      for (const auto& [name, value] : score.parts) names[name] = true;
    }
  }
  std::vector<std::string> out;
  for (const auto& [name, seen] : names) out.push_back(name);
  return out;
}

// One reward's values; none where it did not apply or gave no number.
Rows part_of(std::span<const data::ScoredGroup> groups, const std::string& name) {
  Rows rows;
  for (const auto& group : groups) {
    auto& row = rows.emplace_back();
    for (const auto& score : group.scores) {
      const auto it = score.parts.find(name);
      const bool known = it != score.parts.end() && score.value && !std::isnan(it->second);
      row.push_back(known ? Value(it->second) : std::nullopt);
    }
  }
  return rows;
}

// GDPO (arXiv:2601.05242): each reward normalised in its group, then the weighted sum.
Rows normalised_sum(std::span<const data::ScoredGroup> groups, const AdvantageOptions& options,
                    const Rows& totals) {
  Rows sums = totals;
  for (auto& row : sums) {
    for (Value& v : row) {
      if (v) v = 0.0;
    }
  }
  for (const std::string& name : part_names(groups)) {
    const auto weight = options.reward_weights.find(name);
    const double w = weight == options.reward_weights.end() ? 1.0 : weight->second;
    const Rows normalised = group_advantages(part_of(groups, name), ScaleRewards::kGroup);
    for (size_t g = 0; g < sums.size(); ++g) {
      for (size_t i = 0; i < sums[g].size(); ++i) {
        if (sums[g][i] && normalised[g][i]) *sums[g][i] += w * *normalised[g][i];
      }
    }
  }
  return sums;
}

// TRL's frac_reward_zero_std: the share of completions whose group (or, where the batch's deviation
// scales, batch) has no spread. A single score has no deviation and does not count.
double zero_std_share(const Rows& rows, bool by_batch) {
  const Moments batch = moments(flat(rows));
  double zero = 0, all = 0;
  for (const auto& row : rows) {
    const Value deviation = by_batch ? batch.deviation : moments(row).deviation;
    const bool none = row.size() == 1 && (!by_batch || rows.size() == 1);
    all += static_cast<double>(row.size());
    if (none || (deviation && *deviation <= kZeroStd)) zero += static_cast<double>(row.size());
  }
  return all > 0 ? zero / all : 0.0;
}

void add_moments(std::map<std::string, double>& metrics, const Rows& rows,
                 const std::string& mean_name, const std::string& deviation_name) {
  const Moments m = moments(flat(rows));
  if (m.count > 0) metrics[mean_name] = m.mean;
  if (m.deviation) metrics[deviation_name] = *m.deviation;
}

Rows penalised(Rows totals, std::span<const std::vector<double>> penalties) {
  if (penalties.empty()) return totals;
  PONDER_CHECK(penalties.size() == totals.size(),
               "[advantages] expected penalties of {} groups, got {}", totals.size(),
               penalties.size());
  for (size_t g = 0; g < totals.size(); ++g) {
    PONDER_CHECK(penalties[g].size() == totals[g].size(),
                 "[advantages] expected {} penalties in group {}, got {}", totals[g].size(), g,
                 penalties[g].size());
    for (size_t i = 0; i < totals[g].size(); ++i) {
      if (totals[g][i]) *totals[g][i] -= penalties[g][i];
    }
  }
  return totals;
}

template <typename T>
struct Word {
  const char* name;
  T value;
};

template <typename T, size_t N>
T lookup(const char* key, const std::string& name, const Word<T> (&words)[N]) {
  std::vector<std::string> names;
  for (const auto& word : words) {
    if (name == word.name) return word.value;
    names.emplace_back(word.name);
  }
  core::throw_user("{}: unknown word '{}'{}", key, name, core::suggestion(name, names));
}

}  // namespace

Advantages compute_advantages(std::span<const data::ScoredGroup> groups,
                              const AdvantageOptions& options,
                              std::span<const std::vector<double>> penalties) {
  const Rows scores = totals_of(groups);
  const Rows totals = penalised(scores, penalties);
  const bool decoupled =
      options.estimator == Estimator::kGroup &&
      options.multi_objective_aggregation == MultiObjectiveAggregation::kNormalizeThenSum;
  const Rows sums = decoupled ? normalised_sum(groups, options, totals) : totals;
  Rows advantages;
  switch (options.estimator) {
    case Estimator::kGroup:
      advantages = decoupled ? whitened(sums) : group_advantages(totals, options.scale_rewards);
      break;
    case Estimator::kRloo:
      advantages = leave_one_out(totals);
      if (options.normalize_advantages) advantages = whitened(advantages);
      break;
    case Estimator::kReinforcePlusPlus:
      advantages = whitened(totals);
      break;
    case Estimator::kReinforcePlusPlusBaseline:
      advantages = whitened(less_group_mean(totals));
      break;
  }
  Advantages out;
  for (const auto& row : advantages) {
    auto& values = out.values.emplace_back();
    for (const Value& v : row) values.push_back(static_cast<float>(v.value_or(0.0)));
  }
  for (const std::string& name : part_names(groups)) {
    add_moments(out.metrics, part_of(groups, name), "rewards/" + name + "/mean",
                "rewards/" + name + "/std");
  }
  add_moments(out.metrics, scores, "reward", "reward_std");
  const bool by_batch = decoupled || (options.estimator == Estimator::kGroup &&
                                      options.scale_rewards == ScaleRewards::kBatch);
  out.metrics["frac_reward_zero_std"] = zero_std_share(sums, by_batch);
  const auto all = flat(scores);
  const auto unjudged = std::count_if(all.begin(), all.end(), [](const Value& v) { return !v; });
  out.metrics["frac_reward_null"] =
      all.empty() ? 0.0 : static_cast<double>(unjudged) / static_cast<double>(all.size());
  return out;
}

bool has_signal(const data::ScoredGroup& group) {
  Value first;
  for (const auto& score : group.scores) {
    if (!score.value) continue;
    if (first && *score.value != *first) return true;
    first = score.value;
  }
  return false;
}

ScaleRewards scale_rewards_from(const std::string& name) {
  return lookup<ScaleRewards>("scale_rewards", name,
                              {{"group", ScaleRewards::kGroup},
                               {"batch", ScaleRewards::kBatch},
                               {"none", ScaleRewards::kNone}});
}

MultiObjectiveAggregation aggregation_from(const std::string& name) {
  return lookup<MultiObjectiveAggregation>(
      "multi_objective_aggregation", name,
      {{"sum_then_normalize", MultiObjectiveAggregation::kSumThenNormalize},
       {"normalize_then_sum", MultiObjectiveAggregation::kNormalizeThenSum}});
}

Estimator estimator_from(const std::string& name) {
  return lookup<Estimator>(
      "estimator", name,
      {{"grpo", Estimator::kGroup},
       {"rloo", Estimator::kRloo},
       {"reinforce_plus_plus", Estimator::kReinforcePlusPlus},
       {"reinforce_plus_plus_baseline", Estimator::kReinforcePlusPlusBaseline}});
}

}  // namespace ponder::grpo
