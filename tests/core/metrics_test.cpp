#include "core/metrics.h"

#include <bit>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "core/random.h"
#include "core/tensorboard.h"
#include "tests/support/temp_dir.h"

namespace ponder::core {
namespace {

namespace fs = std::filesystem;
using test::TempDir;
using ::testing::HasSubstr;

const double kNan = std::numeric_limits<double>::quiet_NaN();
const double kInf = std::numeric_limits<double>::infinity();

class MetricsLogTest : public ::testing::Test {
 protected:
  fs::path file() const { return dir_.path() / "metrics.jsonl"; }
  std::string content() const { return read_file(file(), "metrics file"); }
  void put(const std::string& text) const { write_file_atomic(file(), text); }
  std::string error_of_reading() const {
    try {
      read_metrics(file());
    } catch (const UserError& error) {
      return error.what();
    }
    return "no error";
  }

  TempDir dir_;
};

TEST(MetricsLine, PutsTheStepFirstAndSortsTheKeys) {
  EXPECT_EQ(metrics_line({7, {{"reward", 0.5}, {"kl", 1e-9}, {"zz\"q", 3}}}),
            "{\"step\":7,\"kl\":1e-09,\"reward\":0.5,\"zz\\\"q\":3}\n");
}

TEST(MetricsLine, WritesWhatIsNotFiniteAsNull) {
  EXPECT_EQ(metrics_line({1, {{"a", kNan}, {"b", kInf}, {"c", -kInf}}}),
            "{\"step\":1,\"a\":null,\"b\":null,\"c\":null}\n");
}

TEST(MetricsLine, NumbersReadBackAsTheSameBits) {
  Rng rng(1, 2);
  for (int i = 0; i < 20000; ++i) {
    const auto bits = static_cast<uint64_t>(rng.uniform() * 4294967296.0) << 32 |
                      static_cast<uint64_t>(rng.uniform() * 4294967296.0);
    const double value = std::bit_cast<double>(bits);
    if (!std::isfinite(value)) continue;
    const std::string line = metrics_line({0, {{"x", value}}});
    const double back = nlohmann::json::parse(line)["x"].get<double>();
    ASSERT_EQ(std::bit_cast<uint64_t>(back), std::bit_cast<uint64_t>(value)) << line;
  }
}

TEST(DependsOnMachine, IsTrueOfTimingAndPerfOnly) {
  EXPECT_TRUE(depends_on_machine("timing_s/step"));
  EXPECT_TRUE(depends_on_machine("perf/tokens_per_s"));
  EXPECT_TRUE(depends_on_machine("step_time"));
  EXPECT_FALSE(depends_on_machine("reward"));
  EXPECT_FALSE(depends_on_machine("eval/timing_s/x"));
}

TEST_F(MetricsLogTest, WritesOneLineAStep) {
  MetricsLog log(dir_.path() / "deep" / "run", -1);
  log.write({{"loss", 1.5}}, 0);
  log.write({{"loss", 1.25}}, 3);
  EXPECT_EQ(read_file(dir_.path() / "deep" / "run" / "metrics.jsonl", "metrics file"),
            "{\"step\":0,\"loss\":1.5}\n{\"step\":3,\"loss\":1.25}\n");
}

TEST_F(MetricsLogTest, RefusesAStepThatIsNotAboveTheLast) {
  MetricsLog log(dir_.path(), -1);
  log.write({{"loss", 1}}, 4);
  EXPECT_THROW(log.write({{"loss", 1}}, 4), InternalError);
  EXPECT_THROW(log.write({{"loss", 1}}, 3), InternalError);
  EXPECT_THROW(log.write({{"step", 1}}, 5), InternalError);
  EXPECT_EQ(content(), "{\"step\":4,\"loss\":1}\n");
}

TEST_F(MetricsLogTest, AResumedRunLeavesTheBytesOfAnUninterruptedOne) {
  const auto metrics = [](int64_t step) {
    return std::map<std::string, double>{{"reward", 1.0 / (1.0 + static_cast<double>(step))},
                                         {"kl", kNan}};
  };
  const TempDir whole;
  {
    MetricsLog log(whole.path(), -1);
    for (int64_t step = 0; step <= 9; ++step) log.write(metrics(step), step);
  }
  {
    MetricsLog log(dir_.path(), -1);
    for (int64_t step = 0; step <= 7; ++step) log.write(metrics(step), step);
  }
  FileAppender(file()).append("{\"step\":8,\"rew");  // killed within a line
  {
    MetricsLog log(dir_.path(), 4);
    for (int64_t step = 5; step <= 9; ++step) log.write(metrics(step), step);
  }
  EXPECT_EQ(content(), read_file(whole.path() / "metrics.jsonl", "metrics file"));
  EXPECT_EQ(read_event_times(dir_.path() / "tensorboard").size(), 10u);
}

TEST_F(MetricsLogTest, AFreshRunDropsWhatIsThere) {
  put("{\"step\":0,\"a\":1}\n{\"step\":1,\"a\":1}\n");
  MetricsLog log(dir_.path(), -1);
  EXPECT_EQ(content(), "");
}

TEST_F(MetricsLogTest, AWholeLastLineWithoutItsNewlineStays) {
  put("{\"step\":0,\"a\":1}\n{\"step\":1,\"a\":2}");
  MetricsLog log(dir_.path(), 1);
  EXPECT_EQ(content(), "{\"step\":0,\"a\":1}\n{\"step\":1,\"a\":2}\n");
}

TEST_F(MetricsLogTest, ResumeKeepsTheWallTimesOfTheEvents) {
  put("{\"step\":0,\"a\":1}\n{\"step\":1,\"a\":2}\n");
  {
    TensorBoardWriter writer(dir_.path() / "tensorboard");
    writer.add_scalars(0, 111.5, {{"a", 1}});
    writer.add_scalars(1, 222.5, {{"a", 2}});
    writer.add_scalars(2, 333.5, {{"a", 3}});
  }
  MetricsLog log(dir_.path(), 1);
  const std::map<int64_t, double> times = {{0, 111.5}, {1, 222.5}};
  EXPECT_EQ(read_event_times(dir_.path() / "tensorboard"), times);
  log.write({{"a", 3}}, 2);
  EXPECT_EQ(read_event_times(dir_.path() / "tensorboard").size(), 3u);
  EXPECT_FALSE(fs::exists(dir_.path() / "tensorboard.part"));
}

TEST_F(MetricsLogTest, ADamagedFileIsRefusedNotRepaired) {
  put("{\"step\":0,\"a\":1}\ngarbage\n{\"step\":2,\"a\":1}\n");
  EXPECT_THROW(MetricsLog(dir_.path(), 2), UserError);
  EXPECT_THAT(content(), HasSubstr("garbage"));
}

TEST_F(MetricsLogTest, ReadsBackWhatWasWritten) {
  {
    MetricsLog log(dir_.path(), -1);
    log.write({{"a", 0.1}, {"b", kInf}}, 0);
    log.write({}, 1);
  }
  const std::vector<StepRecord> records = read_metrics(file());
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].step, 0);
  EXPECT_EQ(records[0].metrics.at("a"), 0.1);
  EXPECT_TRUE(std::isnan(records[0].metrics.at("b")));
  EXPECT_TRUE(records[1].metrics.empty());
}

TEST_F(MetricsLogTest, ReadingLeavesATornLastLineOut) {
  put("{\"step\":0,\"a\":1}\n{\"step\":1,\"a");
  EXPECT_EQ(read_metrics(file()).size(), 1u);
}

TEST_F(MetricsLogTest, ErrorsNameTheLineAndWhatIsWrong) {
  struct Case {
    const char* name;
    const char* second_line;
    const char* want;
  };
  const Case kCases[] = {
      {"NoJson", "oops", "metrics.jsonl:2: expected one JSON object a line"},
      {"TornWithin", "{\"step\":1,\"a", "metrics.jsonl:2: expected one JSON object a line"},
      {"List", "[1]", "metrics.jsonl:2: expected a JSON object, found array"},
      {"NoStep", "{\"a\":1}", "metrics.jsonl:2: expected an integer \"step\""},
      {"HalfStep", "{\"step\":1.5}", "metrics.jsonl:2: expected an integer \"step\""},
      {"Text", "{\"step\":1,\"a\":\"x\"}",
       "metrics.jsonl:2: metric \"a\": expected a number or null, found string"},
      {"Twice", "{\"step\":0}", "metrics.jsonl:2: expected a step above 0, found 0"},
      {"Empty", "", "metrics.jsonl:2: expected one JSON object a line"},
  };
  for (const Case& c : kCases) {
    SCOPED_TRACE(c.name);
    put(std::string("{\"step\":0,\"a\":1}\n") + c.second_line + "\n{\"step\":9}\n");
    EXPECT_THAT(error_of_reading(), HasSubstr(c.want));
  }
}

TEST_F(MetricsLogTest, AMissingFileIsAUserError) {
  EXPECT_THROW(read_metrics(file()), UserError);
}

}  // namespace
}  // namespace ponder::core
