#include "recipes/report_findings.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

namespace ponder::recipes {
namespace {

constexpr double kShareOfAll = 0.05, kShareOfRewarded = 0.2, kLeastFall = 0.03;
constexpr double kHeldOut = 512;  // problems, for the standard error
constexpr size_t kFirstSteps = 10;

struct Point {
  int64_t step;
  double value;
};

std::vector<Point> points_of(const RunData& run, const std::string& metric) {
  std::vector<Point> points;
  for (const core::StepRecord& record : run.steps) {
    const auto found = record.metrics.find(metric);
    if (found != record.metrics.end() && std::isfinite(found->second))
      points.push_back({record.step, found->second});
  }
  return points;
}

double mean(const std::vector<Point>& points, size_t begin, size_t end) {
  double sum = 0;
  for (size_t i = begin; i < end; ++i) sum += points[i].value;
  return end > begin ? sum / static_cast<double>(end - begin) : 0;
}

double last_quarter(const std::vector<Point>& points) {
  return mean(points, points.size() - (points.size() + 3) / 4, points.size());
}

// The reward's mean over a tenth of the run around a step: single steps are noise.
double reward_near(const std::vector<Point>& rewards, int64_t step) {
  const auto window = static_cast<int64_t>(rewards.size() / 20 + 1);
  const auto at = std::lower_bound(rewards.begin(), rewards.end(), step,
                                   [](const Point& p, int64_t s) { return p.step < s; }) -
                  rewards.begin();
  const auto size = static_cast<int64_t>(rewards.size());
  return mean(rewards, static_cast<size_t>(std::clamp<int64_t>(at - window, 0, size - 1)),
              static_cast<size_t>(std::clamp<int64_t>(at + window, 1, size)));
}

void reward_against_accuracy(const RunData& run, std::vector<std::string>& out) {
  const auto held_out = points_of(run, "eval/accuracy"), rewards = points_of(run, "reward");
  if (held_out.size() < 2 || rewards.empty()) return;
  const Point best = *std::max_element(held_out.begin(), held_out.end(),
                                       [](auto& a, auto& b) { return a.value < b.value; });
  const Point last = held_out.back();
  const double error = std::sqrt(std::max(0.0, best.value * (1 - best.value)) / kHeldOut);
  const double before = reward_near(rewards, best.step), after = reward_near(rewards, last.step);
  if (best.value - last.value <= std::max(kLeastFall, 2 * error) || after <= before) return;
  out.push_back(
      fmt::format("Since step {} the reward rose from {:.3g} to {:.3g} while the held-out accuracy "
                  "fell from {:.1f} % to {:.1f} %: the policy may game its rewards.",
                  best.step, before, after, 100 * best.value, 100 * last.value));
}

void signs(const RunData& run, std::vector<std::string>& out) {
  static constexpr std::pair<const char*, const char*> kSigns[] = {
      {"hacks/tag_spam", "repeat a tag of the format more than twice"},
      {"hacks/many_boxes", "give more than two final answers"},
      {"hacks/hidden_answer", "hide the final answer before 2,000 bytes of other text"},
      {"hacks/prompt_copy", "copy the prompt"}};
  for (const auto& [metric, what] : kSigns) {
    const auto points = points_of(run, metric);
    if (points.empty() || last_quarter(points) <= kShareOfAll) continue;
    out.push_back(fmt::format("{:.0f} % of the latest completions {} ({}).",
                              100 * last_quarter(points), what, metric));
  }
  const auto rewarded = points_of(run, "hacks/rewarded");
  if (!rewarded.empty() && last_quarter(rewarded) > kShareOfRewarded) {
    out.push_back(fmt::format(
        "{:.0f} % of the latest completions above their group's mean reward carry such a sign "
        "(hacks/rewarded): the rewards pay for it.",
        100 * last_quarter(rewarded)));
  }
}

void failures(const RunData& run, std::vector<std::string>& out) {
  const auto null = points_of(run, "frac_reward_null");
  if (!null.empty() && last_quarter(null) > kShareOfAll) {
    out.push_back(
        fmt::format("{:.0f} % of the latest completions could not be judged (frac_reward_null); "
                    "rewards/status/* says how.",
                    100 * last_quarter(null)));
  }
  if (run.steps.empty()) return;
  for (const auto& [metric, value] : run.steps.back().metrics) {
    if (!metric.starts_with("rewards/") || !metric.ends_with("/mean")) continue;
    const auto points = points_of(run, metric);
    const bool never =
        points.size() >= kFirstSteps &&
        std::all_of(points.begin(), points.end(), [](const Point& p) { return p.value == 0; });
    if (!never) continue;
    out.push_back(fmt::format(
        "{} was 0 in every step: does the template ask for what the reward looks for (tags that "
        "it opens itself count)? Try `ponder score --explain` on the completions.",
        metric));
  }
}

}  // namespace

std::vector<std::string> findings(const RunData& run) {
  std::vector<std::string> out;
  reward_against_accuracy(run, out);
  signs(run, out);
  failures(run, out);
  return out;
}

}  // namespace ponder::recipes
