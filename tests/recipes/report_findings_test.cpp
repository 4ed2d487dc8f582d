#include "recipes/report_findings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ponder::recipes {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// 40 steps; `value(step)` of each metric.
RunData run_with(const std::map<std::string, double (*)(double)>& metrics) {
  RunData run;
  for (int64_t step = 1; step <= 40; ++step) {
    core::StepRecord record;
    record.step = step;
    for (const auto& [name, value] : metrics)
      record.metrics[name] = value(static_cast<double>(step));
    run.steps.push_back(record);
  }
  return run;
}

TEST(Findings, AHealthyRunHasNone) {
  EXPECT_THAT(findings(run_with({{"reward", [](double s) { return s / 40; }},
                                 {"eval/accuracy", [](double s) { return s / 50; }},
                                 {"rewards/format/mean", [](double s) { return s / 40; }},
                                 {"hacks/tag_spam", [](double) { return 0.01; }},
                                 {"hacks/rewarded", [](double) { return 0.02; }},
                                 {"frac_reward_null", [](double) { return 0.0; }}})),
              IsEmpty());
  EXPECT_THAT(findings(RunData{}), IsEmpty());
}

TEST(Findings, RewardUpWhileHeldOutAccuracyFalls) {
  EXPECT_THAT(findings(run_with(
                  {{"reward", [](double s) { return s / 40; }},
                   {"eval/accuracy", [](double s) { return s <= 20 ? s / 40 : 1 - s / 40; }}})),
              ElementsAre(HasSubstr("Since step 20 the reward rose")));
  // Both fall: not a hack. A fall within the noise: neither.
  EXPECT_THAT(findings(run_with({{"reward", [](double s) { return 1 - s / 40; }},
                                 {"eval/accuracy", [](double s) { return 1 - s / 40; }}})),
              IsEmpty());
  EXPECT_THAT(findings(run_with({{"reward", [](double s) { return s / 40; }},
                                 {"eval/accuracy", [](double s) { return 0.5 - s / 2000; }}})),
              IsEmpty());
}

TEST(Findings, SignsAndFailuresOfTheLastQuarterAreNamed) {
  EXPECT_THAT(findings(run_with({{"hacks/tag_spam", [](double s) { return s > 25 ? 0.5 : 0.0; }},
                                 {"hacks/many_boxes", [](double s) { return s < 10 ? 0.5 : 0.0; }},
                                 {"hacks/rewarded", [](double s) { return s > 25 ? 0.9 : 0.0; }},
                                 {"frac_reward_null", [](double s) { return s > 25 ? 0.2 : 0.0; }},
                                 {"rewards/format/mean", [](double) { return 0.0; }}})),
              ElementsAre(HasSubstr("hacks/tag_spam"), HasSubstr("hacks/rewarded"),
                          HasSubstr("frac_reward_null"), HasSubstr("rewards/format/mean was 0")));
}

}  // namespace
}  // namespace ponder::recipes
