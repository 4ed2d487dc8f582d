#include "recipes/report_charts.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ponder::recipes {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;
using Json = nlohmann::json;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

RunData run_of(std::string name, std::vector<core::StepRecord> steps) {
  RunData run;
  run.name = std::move(name);
  run.steps = std::move(steps);
  return run;
}

std::vector<std::string> titles(const Json& charts) {
  std::vector<std::string> names;
  for (const Json& chart : charts) names.push_back(chart["title"]);
  return names;
}

Json chart_named(const Json& charts, const std::string& title) {
  for (const Json& chart : charts) {
    if (chart["title"] == title) return chart;
  }
  ADD_FAILURE() << "no chart " << title;
  return nullptr;
}

TEST(ThinOut, LeavesAShortCurveAsItIs) {
  const Curve curve = {{1, 2, 3}, {4, 5, 6}, {}, {}};
  const Curve thin = thin_out(curve, 3);
  EXPECT_EQ(thin.steps, curve.steps);
  EXPECT_EQ(thin.values, curve.values);
  EXPECT_TRUE(thin.low.empty());
}

TEST(ThinOut, AveragesBucketsAndKeepsTheirRange) {
  const Curve thin = thin_out({{1, 2, 3, 4}, {0, 4, 10, 10}, {}, {}}, 2);
  EXPECT_THAT(thin.steps, ElementsAre(2, 4));
  EXPECT_THAT(thin.values, ElementsAre(2, 10));
  EXPECT_THAT(thin.low, ElementsAre(0, 10));
  EXPECT_THAT(thin.high, ElementsAre(4, 10));
}

TEST(ThinOut, SkipsWhatIsNotFinite) {
  const double inf = std::numeric_limits<double>::infinity();
  const Curve thin = thin_out({{1, 2, 3, 4, 5, 6}, {kNan, 3, inf, -inf, kNan, kNan}, {}, {}}, 2);
  EXPECT_EQ(thin.values[0], 3);
  EXPECT_EQ(thin.high[0], 3);
  EXPECT_TRUE(std::isnan(thin.values[1]));
  EXPECT_TRUE(std::isnan(thin.low[1]));
}

TEST(ThinOut, LosesNoSpikeAndNoEnd) {
  Curve curve;
  for (int64_t i = 0; i < 10007; ++i) {
    curve.steps.push_back(i);
    curve.values.push_back(i == 5555 ? 1000.0 : 1.0);
  }
  const Curve thin = thin_out(curve, 1000);
  ASSERT_THAT(thin.values, SizeIs(1000));
  EXPECT_EQ(thin.steps.back(), 10006);
  EXPECT_EQ(*std::max_element(thin.high.begin(), thin.high.end()), 1000.0);
  EXPECT_TRUE(std::is_sorted(thin.steps.begin(), thin.steps.end()));
}

TEST(MakeCharts, LeavesOutWhatTheRunHasNot) {
  const RunData run = run_of("a", {{1, {{"reward", 0.5}}}, {2, {{"reward", 0.75}}}});
  const Json charts = make_charts({&run, 1});
  EXPECT_THAT(titles(charts), ElementsAre("Reward"));
  const Json series = charts[0]["series"][0];
  EXPECT_EQ(series["steps"], Json({1, 2}));
  EXPECT_EQ(series["values"], Json({0.5, 0.75}));
  EXPECT_FALSE(series.contains("low"));
}

TEST(MakeCharts, ARunWithoutStepsHasNone) {
  const RunData run = run_of("a", {});
  EXPECT_TRUE(make_charts({&run, 1}).empty());
}

TEST(MakeCharts, TheRewardsBandIsOneDeviationEitherSide) {
  const RunData run =
      run_of("a", {{1, {{"reward", 0.5}, {"reward_std", 0.25}}}, {2, {{"reward", 1}}}});
  const Json charts = make_charts({&run, 1});
  EXPECT_THAT(titles(charts), ElementsAre("Reward"));
  EXPECT_EQ(charts[0]["series"][0]["low"], Json({0.25, nullptr}));
  EXPECT_EQ(charts[0]["series"][0]["high"], Json({0.75, nullptr}));
}

TEST(MakeCharts, EvaluationsShareTheChartOfTheirTrainingMetric) {
  const RunData run = run_of("a", {{0, {{"eval/accuracy", 0.3}, {"eval/sampled_accuracy", 0.4}}},
                                   {1, {{"rewards/accuracy/mean", 0.5}}},
                                   {2, {{"rewards/accuracy/mean", 0.6}, {"eval/accuracy", 0.9}}}});
  const Json charts = make_charts({&run, 1});
  ASSERT_THAT(titles(charts), ElementsAre("Accuracy"));
  ASSERT_THAT(charts[0]["series"], SizeIs(3));
  EXPECT_EQ(charts[0]["series"][1]["steps"], Json({0, 2}));
  EXPECT_EQ(charts[0]["series"][1]["is_dotted"], true);
}

TEST(MakeCharts, NothingIsHidden) {
  const RunData run = run_of("a", {{1,
                                    {{"reward", 1},
                                     {"moe/max_violation", 0.2},
                                     {"tokens", 2048},
                                     {"reward_std", 0.1},
                                     {"completions/min_length", 3},
                                     {"timing_s/step", 2},
                                     {"step_time", 2},
                                     {"timing_s/sample", 1},
                                     {"perf/rss_bytes", 5}}}});
  // completions/min_length is a band elsewhere, but without its mean it stands alone.
  EXPECT_THAT(titles(make_charts({&run, 1})),
              ElementsAre("Reward", "Time per phase", "completions/min_length", "moe/max_violation",
                          "perf/rss_bytes", "tokens"));
}

TEST(MakeCharts, CountsWhatIsNotFinite) {
  const RunData run =
      run_of("a", {{1, {{"loss", kNan}}}, {2, {{"loss", 1}}}, {3, {{"loss", kNan}}}});
  const Json chart = make_charts({&run, 1})[0];
  EXPECT_EQ(chart["num_not_finite"], 2);
  EXPECT_EQ(chart["series"][0]["values"], Json({nullptr, 1.0, nullptr}));
}

TEST(MakeCharts, PhasesStackInTheOrderOfAStepAndTheRestIsShown) {
  const RunData run = run_of("a", {{1,
                                    {{"timing_s/zip", 1},
                                     {"timing_s/train", 2},
                                     {"timing_s/sample", 3},
                                     {"timing_s/step", 10}}},
                                   {2, {{"timing_s/sample", 3}, {"timing_s/step", 3}}},
                                   {3, {{"reward", 1}}}});
  const Json chart = chart_named(make_charts({&run, 1}), "Time per phase");
  EXPECT_EQ(chart["kind"], "stack");
  std::vector<std::string> labels;
  for (const Json& series : chart["series"]) {
    labels.push_back(series["label"]);
    EXPECT_EQ(series["steps"], Json({1, 2}));
  }
  EXPECT_THAT(labels, ElementsAre("sample", "train", "zip", "rest"));
  EXPECT_EQ(chart["series"][1]["values"], Json({2.0, 0.0}));
  EXPECT_EQ(chart["series"][3]["values"], Json({4.0, 0.0}));
}

TEST(MakeCharts, SeveralRunsGiveOneSeriesARunAndNoBands) {
  std::vector<RunData> runs;
  for (const char* name : {"a", "b"}) {
    runs.push_back(run_of(name, {{1,
                                  {{"reward", 1},
                                   {"reward_std", 0.1},
                                   {"rewards/accuracy/mean", 1},
                                   {"eval/accuracy", 0.5},
                                   {"timing_s/step", 1}}}}));
  }
  runs.push_back(run_of("pretrained", {{1, {{"loss", 2}}}}));
  const Json charts = make_charts(runs);
  EXPECT_THAT(titles(charts),
              ElementsAre("Reward", "Accuracy · training", "Accuracy · held out, greedy",
                          "Loss · training", "Seconds per step", "reward_std"));
  for (const Json& chart : charts) {
    std::set<int> seen;
    for (const Json& series : chart["series"]) {
      EXPECT_TRUE(seen.insert(series["run"].get<int>()).second) << chart["title"];
      EXPECT_FALSE(series.contains("low"));
    }
  }
  EXPECT_EQ(chart_named(charts, "Loss · training")["series"][0]["run"], 2);
}

}  // namespace
}  // namespace ponder::recipes
