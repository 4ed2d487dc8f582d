#include "core/progress.h"

#include <cstdlib>
#include <limits>
#include <string>

#include <gtest/gtest.h>

namespace ponder::core {
namespace {

// A stream into memory.
class Sink {
 public:
  Sink() : file_(::open_memstream(&data_, &size_)) {}
  ~Sink() {
    std::fclose(file_);
    std::free(data_);
  }
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;
  std::FILE* file() { return file_; }
  std::string text() {
    std::fflush(file_);
    return {data_, size_};
  }

 private:
  char* data_ = nullptr;
  size_t size_ = 0;
  std::FILE* file_;
};

TEST(FormatStep, SaysAllThatIsKnown) {
  const StepLine line = {.step = 12,
                         .num_steps = 40,
                         .reward = 0.83,
                         .accuracy = 0.712,
                         .mean_length = 25.08,
                         .kl = 0.0123,
                         .entropy = 0.312,
                         .tokens_per_s = 61234,
                         .eta_s = 43.2};
  EXPECT_EQ(format_step(line),
            "step 12/40 · reward 0.83 · accuracy 71 % · length 25.1 · KL 0.012 · entropy 0.31 · "
            "61k tok/s · ETA 0:43");
}

TEST(FormatStep, LeavesOutWhatIsUnknown) {
  EXPECT_EQ(format_step({.step = 3}), "step 3");
  EXPECT_EQ(format_step({.step = 3,
                         .kl = std::numeric_limits<double>::quiet_NaN(),
                         .eta_s = std::numeric_limits<double>::infinity()}),
            "step 3");
  EXPECT_EQ(format_step({.step = 3, .num_steps = 9, .loss = 2.5}), "step 3/9 · loss 2.50");
}

TEST(FormatStep, TinyAndNegativeNumbersStayReadable) {
  EXPECT_EQ(format_step({.step = 1, .reward = -0.5, .kl = 0.00025}),
            "step 1 · reward -0.50 · KL 2.5e-04");
  EXPECT_EQ(format_step({.step = 1, .reward = 0}), "step 1 · reward 0");
}

TEST(FormatDuration, CarriesIntoTheNextUnit) {
  struct Case {
    double seconds;
    const char* want;
  };
  const Case kCases[] = {{0, "0:00"},
                         {43.4, "0:43"},
                         {59.6, "1:00"},
                         {725, "12:05"},
                         {3599.7, "1:00:00"},
                         {3723, "1:02:03"},
                         {86400, "1 d 00:00:00"},
                         {273906, "3 d 04:05:06"},
                         {-1, "?"},
                         {std::numeric_limits<double>::infinity(), "?"}};
  for (const Case& c : kCases) EXPECT_EQ(format_duration(c.seconds), c.want) << c.seconds;
}

TEST(FormatCount, KeepsTwoOrThreeDigits) {
  struct Case {
    double value;
    const char* want;
  };
  const Case kCases[] = {{0, "0"},         {950, "950"},   {999.4, "999"}, {999.6, "1.0k"},
                         {1240, "1.2k"},   {9960, "10k"},  {61234, "61k"}, {999400, "999k"},
                         {999600, "1.0M"}, {2.5e9, "2.5G"}};
  for (const Case& c : kCases) EXPECT_EQ(format_count(c.value), c.want) << c.value;
}

TEST(FitLine, CutsByCodePointsNotBytes) {
  EXPECT_EQ(fit_line("a · b", 5), "a · b");
  EXPECT_EQ(fit_line("a · b", 4), "a ·…");
  EXPECT_EQ(fit_line("··", 1), "…");
  EXPECT_EQ(fit_line("abc", 0), "");
}

TEST(FitLine, ReplacesControlCharacters) {
  EXPECT_EQ(fit_line("a\nb\x1b[2Jc", 80), "a b [2Jc");
}

TEST(Progress, PlainLinesHoldNoControlCharacters) {
  Sink sink;
  {
    Progress progress(sink.file(), false);
    progress.update("sampling 1/9");
    progress.step("step 1");
    progress.print("saved");
    progress.step("step 2");
  }
  EXPECT_EQ(sink.text(), "step 1\nsaved\nstep 2\n");
}

TEST(Progress, TheLiveLineIsRewrittenInPlaceAndStaysAtTheEnd) {
  Sink sink;
  double now_s = 0;
  Progress progress(sink.file(), true, [&] { return now_s; });
  progress.step("one");
  now_s = 1;
  progress.step("two");
  progress.finish();
  progress.finish();
  EXPECT_EQ(sink.text(), "\rone\x1b[K\rtwo\x1b[K\rtwo\x1b[K\n");
}

TEST(Progress, RedrawsAtMostTenTimesASecondYetShowsTheLastLine) {
  Sink sink;
  double now_s = 5;
  Progress progress(sink.file(), true, [&] { return now_s; });
  progress.update("a");
  now_s = 5.05;
  progress.update("b");
  now_s = 5.09;
  progress.update("c");
  EXPECT_EQ(sink.text(), "\ra\x1b[K");
  progress.finish();
  EXPECT_EQ(sink.text(), "\ra\x1b[K\rc\x1b[K\n");
}

TEST(Progress, PermanentLinesStandAboveTheLiveOne) {
  Sink sink;
  double now_s = 0;
  Progress progress(sink.file(), true, [&] { return now_s; });
  progress.update("live");
  progress.print("saved step 10");
  EXPECT_EQ(sink.text(), "\rlive\x1b[K\r\x1b[Ksaved step 10\n\rlive\x1b[K");
}

}  // namespace
}  // namespace ponder::core
