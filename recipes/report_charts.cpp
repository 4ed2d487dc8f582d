#include "recipes/report_charts.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <set>
#include <string>

#include <fmt/format.h>

namespace ponder::recipes {
namespace {

using Json = nlohmann::json;

constexpr size_t kPointsMax = 1000;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Colours mean the same in every chart of one run.
enum Slot { kTraining, kGreedy, kSampled, kFourth };

struct SeriesSpec {
  const char* metric = nullptr;
  const char* label = "";
  Slot slot = kTraining;
  bool is_dotted = false;        // measured now and then: points joined by a line
  const char* spread = nullptr;  // the band is value - spread .. value + spread
  const char* low = nullptr;     // or from this metric
  const char* high = nullptr;    // to this one
};

struct ChartHead {
  std::string title;
  std::string hint;
  std::string format;
  bool from_zero;  // the axis holds 0 even where no value is near
};

struct ChartSpec {
  const char* title;
  const char* hint;
  const char* band_hint;  // what the band of the first series shows; "" where it has none
  const char* format;
  bool from_zero;
  std::array<SeriesSpec, 3> series;
};

// In the order of the page; the first four that a run has are drawn large.
// clang-format off
constexpr ChartSpec kCharts[] = {
    {"Reward", "mean over the step's completions", "band: one standard deviation either side", "number", true,
     {{{.metric = "reward", .label = "training", .spread = "reward_std"}}}},
    {"Accuracy", "share of right answers", "", "percent", true,
     {{{.metric = "rewards/accuracy/mean", .label = "training"},
       {.metric = "eval/accuracy", .label = "held out, greedy", .slot = kGreedy, .is_dotted = true},
       {.metric = "eval/sampled_accuracy", .label = "held out, T = 1", .slot = kSampled, .is_dotted = true}}}},
    {"Completion length", "tokens", "band: shortest to longest of the step", "number", true,
     {{{.metric = "completions/mean_length", .label = "training",
        .low = "completions/min_length", .high = "completions/max_length"},
       {.metric = "eval/mean_length", .label = "held out, greedy", .slot = kGreedy, .is_dotted = true},
       {.metric = "eval/sampled_mean_length", .label = "held out, T = 1", .slot = kSampled, .is_dotted = true}}}},
    {"Format", "share of completions in the asked-for form", "", "percent", true,
     {{{.metric = "rewards/format/mean", .label = "training"},
       {.metric = "eval/format", .label = "held out, greedy", .slot = kGreedy, .is_dotted = true},
       {.metric = "eval/sampled_format", .label = "held out, T = 1", .slot = kSampled, .is_dotted = true}}}},
    {"KL to the reference", "nats per token", "", "number", true, {{{.metric = "kl", .label = "KL"}}}},
    {"Entropy", "of the next-token distribution; nats per token", "", "number", true,
     {{{.metric = "entropy", .label = "entropy"}}}},
    {"Clip share", "tokens whose probability ratio was clipped", "", "percent", true,
     {{{.metric = "clip_ratio/region_mean", .label = "either side"},
       {.metric = "clip_ratio/low_mean", .label = "low", .slot = kGreedy},
       {.metric = "clip_ratio/high_mean", .label = "high", .slot = kSampled}}}},
    {"Loss", "what the optimizer minimises", "", "number", false,
     {{{.metric = "loss", .label = "training"},
       {.metric = "eval/loss", .label = "held out", .slot = kGreedy, .is_dotted = true}}}},
    {"Gradient norm", "before clipping", "", "number", true, {{{.metric = "grad_norm", .label = "norm"}}}},
    {"Learning rate", "", "", "number", true, {{{.metric = "learning_rate", .label = "rate"}}}},
    {"Groups without signal", "every completion of the group scored the same", "", "percent", true,
     {{{.metric = "frac_reward_zero_std", .label = "share"}}}},
    {"Cut-off completions", "share that reached the length limit", "", "percent", true,
     {{{.metric = "completions/clipped_ratio", .label = "share"}}}},
    {"Signs of gamed rewards", "share of completions; of those above their group's mean: rewarded", "", "percent", true,
     {{{.metric = "hacks/rewarded", .label = "rewarded"},
       {.metric = "hacks/tag_spam", .label = "tag spam", .slot = kGreedy},
       {.metric = "hacks/many_boxes", .label = "many answers", .slot = kSampled}}}},
    {"Throughput", "tokens per second", "", "count", true, {{{.metric = "perf/tokens_per_s", .label = "tokens/s"}}}},
};
// clang-format on

constexpr size_t kNumLarge = 4;
constexpr std::string_view kPhasePrefix = "timing_s/";
constexpr std::string_view kWholeStep = "timing_s/step";
constexpr const char* kWholeStepForTrl = "step_time";  // the same number under TRL's name

// The metric at every step that has it; non-finite values stay as NaN.
Curve curve_of(const RunData& run, const std::string& metric) {
  Curve curve;
  for (const core::StepRecord& record : run.steps) {
    const auto found = record.metrics.find(metric);
    if (found == record.metrics.end()) continue;
    curve.steps.push_back(record.step);
    curve.values.push_back(found->second);
  }
  return curve;
}

double finite_mean(std::span<const double> values) {
  double sum = 0;
  double count = 0;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    sum += value;
    ++count;
  }
  return count > 0 ? sum / count : kNan;
}

// The least and the greatest finite value; NaN where there is none.
std::pair<double, double> finite_range(std::span<const double> values) {
  std::pair<double, double> range = {kNan, kNan};
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    range.first = std::fmin(range.first, value);  // fmin and fmax prefer the number to NaN
    range.second = std::fmax(range.second, value);
  }
  return range;
}

double metric_at(const core::StepRecord& record, const char* metric) {
  const auto found = record.metrics.find(metric);
  return found == record.metrics.end() ? kNan : found->second;
}

// Adds the band that `spec` names, where the run has its metrics.
void add_band(const RunData& run, const SeriesSpec& spec, Curve& curve) {
  if (spec.spread == nullptr && spec.low == nullptr) return;
  std::vector<double> low;
  std::vector<double> high;
  for (const core::StepRecord& record : run.steps) {
    const auto value = record.metrics.find(spec.metric);
    if (value == record.metrics.end()) continue;
    const double spread = spec.spread != nullptr ? metric_at(record, spec.spread) : 0;
    low.push_back(spec.low != nullptr ? metric_at(record, spec.low) : value->second - spread);
    high.push_back(spec.high != nullptr ? metric_at(record, spec.high) : value->second + spread);
  }
  const auto is_finite = [](double x) { return std::isfinite(x); };
  if (std::none_of(low.begin(), low.end(), is_finite)) return;
  curve.low = std::move(low);
  curve.high = std::move(high);
}

// Six digits are more than a screen shows and keep the page small.
Json numbers(const std::vector<double>& values) {
  Json list = Json::array();
  for (const double value : values) {
    if (std::isfinite(value)) {
      list.push_back(std::strtod(fmt::format("{:.6g}", value).c_str(), nullptr));
    } else {
      list.push_back(nullptr);
    }
  }
  return list;
}

Json series_json(const Curve& whole, std::string_view label, size_t run, int slot, bool is_dotted) {
  const Curve curve = thin_out(whole, kPointsMax);
  Json series = {{"label", label}, {"run", run}, {"slot", slot}, {"is_dotted", is_dotted}};
  series["steps"] = curve.steps;
  series["values"] = numbers(curve.values);
  if (!curve.low.empty()) {
    series["low"] = numbers(curve.low);
    series["high"] = numbers(curve.high);
  }
  return series;
}

// `curves`: what `series` was made of. "bucket": the steps that a point of the longest curve stands
// for.
Json chart_json(const ChartHead& head, const char* size, Json series,
                std::span<const Curve> curves) {
  size_t num_not_finite = 0;
  size_t longest = 0;
  for (const Curve& curve : curves) {
    longest = std::max(longest, curve.values.size());
    num_not_finite += std::count_if(curve.values.begin(), curve.values.end(),
                                    [](double value) { return !std::isfinite(value); });
  }
  return {{"title", head.title},
          {"hint", head.hint},
          {"format", head.format},
          {"kind", "line"},
          {"size", size},
          {"from_zero", head.from_zero},
          {"bucket", (longest + kPointsMax - 1) / kPointsMax},
          {"num_not_finite", num_not_finite},
          {"series", std::move(series)}};
}

// One run: the chart with all its series.
void add_chart(const RunData& run, const ChartSpec& spec, Json& charts) {
  ChartHead head = {spec.title, spec.hint, spec.format, spec.from_zero};
  Json series = Json::array();
  std::vector<Curve> curves;
  for (const SeriesSpec& s : spec.series) {
    if (s.metric == nullptr) continue;
    Curve curve = curve_of(run, s.metric);
    if (curve.steps.empty()) continue;
    add_band(run, s, curve);
    if (!curve.low.empty()) head.hint += std::string("; ") + spec.band_hint;
    series.push_back(series_json(curve, s.label, 0, s.slot, s.is_dotted));
    series.back()["metric"] = s.metric;
    curves.push_back(std::move(curve));
  }
  if (series.empty()) return;
  const char* size = charts.size() < kNumLarge ? "large" : "medium";
  charts.push_back(chart_json(head, size, std::move(series), curves));
}

// One metric of every run, one series a run, without the bands of thinned curves: those of several
// runs would hide each other. With a single run this is the small chart of a metric that has no
// chart of its own.
void add_overlay(std::span<const RunData> runs, const std::string& metric, const ChartHead& head,
                 const char* size, bool is_dotted, Json& charts) {
  Json series = Json::array();
  std::vector<Curve> curves;
  for (size_t i = 0; i < runs.size(); ++i) {
    Curve curve = curve_of(runs[i], metric);
    if (curve.steps.empty()) continue;
    series.push_back(series_json(curve, runs[i].name, i, static_cast<int>(i), is_dotted));
    series.back()["metric"] = metric;
    if (runs.size() > 1) {
      series.back().erase("low");
      series.back().erase("high");
    }
    curves.push_back(std::move(curve));
  }
  if (!series.empty()) charts.push_back(chart_json(head, size, std::move(series), curves));
}

std::set<std::string> metrics_of(std::span<const RunData> runs) {
  std::set<std::string> names;
  for (const RunData& run : runs) {
    for (const core::StepRecord& record : run.steps) {
      for (const auto& [name, value] : record.metrics) names.insert(name);
    }
  }
  if (names.contains(std::string(kWholeStep))) names.erase(kWholeStepForTrl);
  return names;
}

// timing_s/min/* and timing_s/max/*: the fastest and the slowest of several workers.
bool is_of_extreme_worker(const std::string& metric) {
  return metric.starts_with("timing_s/min/") || metric.starts_with("timing_s/max/");
}

// The phases in the order of a step; phases that are not named here follow by name.
std::vector<std::string> phases_of(const std::set<std::string>& metrics) {
  const std::array<std::string, 5> kOrder = {"timing_s/sample", "timing_s/score", "timing_s/train",
                                             "timing_s/eval", "timing_s/save"};
  std::vector<std::string> phases;
  for (const std::string& phase : kOrder) {
    if (metrics.contains(phase)) phases.push_back(phase);
  }
  for (const std::string& metric : metrics) {
    const bool is_phase =
        metric.starts_with(kPhasePrefix) && metric != kWholeStep && !is_of_extreme_worker(metric);
    if (is_phase && std::find(kOrder.begin(), kOrder.end(), metric) == kOrder.end())
      phases.push_back(metric);
  }
  return phases;
}

// Seconds of each phase, one on another; what timing_s/step holds beyond them is the phase "rest".
void add_phases(const RunData& run, const std::vector<std::string>& phases, Json& charts) {
  std::vector<Curve> curves(phases.size() + 1);
  double total_s = 0;
  double rest_s = 0;
  for (const core::StepRecord& record : run.steps) {
    double sum_s = 0;
    const bool is_timed = std::any_of(phases.begin(), phases.end(), [&](const std::string& phase) {
      return record.metrics.contains(phase);
    });
    if (!is_timed) continue;
    for (size_t i = 0; i < phases.size(); ++i) {
      const double seconds = metric_at(record, phases[i].c_str());
      curves[i].steps.push_back(record.step);
      curves[i].values.push_back(std::isfinite(seconds) ? seconds : 0);
      sum_s += curves[i].values.back();
    }
    const double whole_s = metric_at(record, std::string(kWholeStep).c_str());
    curves.back().steps.push_back(record.step);
    curves.back().values.push_back(std::isfinite(whole_s) ? std::max(0.0, whole_s - sum_s) : 0);
    rest_s += curves.back().values.back();
    total_s += sum_s + curves.back().values.back();
  }
  if (rest_s < 0.01 * total_s) curves.pop_back();
  Json series = Json::array();
  for (size_t i = 0; i < curves.size(); ++i) {
    const std::string label = i < phases.size() ? phases[i].substr(kPhasePrefix.size()) : "rest";
    series.push_back(series_json(curves[i], label, 0, static_cast<int>(i), false));
  }
  const ChartHead head = {"Time per phase", "seconds of each step", "seconds", true};
  charts.push_back(chart_json(head, "medium", std::move(series), curves));
  charts.back()["kind"] = "stack";
}

// The metrics without a chart of their own, in a small one each.
void add_others(std::span<const RunData> runs, const std::set<std::string>& metrics, Json& charts) {
  for (const std::string& metric : metrics) {
    const char* format = metric.starts_with(kPhasePrefix) ? "seconds" : "number";
    add_overlay(runs, metric, {metric, "", format, false}, "small", false, charts);
  }
}

Json single_charts(const RunData& run, std::set<std::string> left) {
  Json charts = Json::array();
  for (const ChartSpec& spec : kCharts) {
    add_chart(run, spec, charts);
    for (const SeriesSpec& s : spec.series) {
      if (s.metric == nullptr || left.erase(s.metric) == 0) continue;
      for (const char* shown_as_band : {s.spread, s.low, s.high}) {
        if (shown_as_band != nullptr) left.erase(shown_as_band);
      }
    }
  }
  const std::vector<std::string> phases = phases_of(left);
  if (!phases.empty()) {
    add_phases(run, phases, charts);
    for (const std::string& phase : phases) left.erase(phase);
    left.erase(std::string(kWholeStep));
  }
  add_others({&run, 1}, left, charts);
  return charts;
}

Json overlaid_charts(std::span<const RunData> runs, std::set<std::string> left) {
  Json charts = Json::array();
  const auto size = [&charts] { return charts.size() < kNumLarge ? "large" : "medium"; };
  for (const ChartSpec& spec : kCharts) {
    for (const SeriesSpec& s : spec.series) {
      if (s.metric == nullptr || left.erase(s.metric) == 0) continue;
      const bool is_alone = spec.series[1].metric == nullptr;
      const std::string title = is_alone ? spec.title : fmt::format("{} · {}", spec.title, s.label);
      const ChartHead head = {title, spec.hint, spec.format, spec.from_zero};
      add_overlay(runs, s.metric, head, size(), s.is_dotted, charts);
    }
  }
  if (left.erase(std::string(kWholeStep)) > 0) {
    add_overlay(runs, std::string(kWholeStep), {"Seconds per step", "", "seconds", true}, size(),
                false, charts);
  }
  add_others(runs, left, charts);
  return charts;
}

}  // namespace

Curve thin_out(const Curve& curve, size_t points_max) {
  const size_t size = curve.values.size();
  if (size <= points_max) return curve;
  const bool has_band = !curve.low.empty();
  Curve thin;
  for (size_t bucket = 0; bucket < points_max; ++bucket) {
    const size_t first = bucket * size / points_max;
    const size_t count = (bucket + 1) * size / points_max - first;
    const auto part = [&](const std::vector<double>& list) {
      return std::span(list).subspan(first, count);
    };
    thin.steps.push_back(curve.steps[first + count - 1]);
    thin.values.push_back(finite_mean(part(curve.values)));
    const auto [least, greatest] = finite_range(part(curve.values));
    thin.low.push_back(has_band ? finite_mean(part(curve.low)) : least);
    thin.high.push_back(has_band ? finite_mean(part(curve.high)) : greatest);
  }
  return thin;
}

Json make_charts(std::span<const RunData> runs) {
  std::set<std::string> metrics = metrics_of(runs);
  return runs.size() == 1 ? single_charts(runs[0], std::move(metrics))
                          : overlaid_charts(runs, std::move(metrics));
}

}  // namespace ponder::recipes
