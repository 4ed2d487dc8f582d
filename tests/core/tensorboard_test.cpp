#include "core/tensorboard.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/crc32c.h"
#include "core/error.h"
#include "core/file.h"
#include "tests/support/temp_dir.h"

namespace ponder::core {
namespace {

namespace fs = std::filesystem;
using test::TempDir;

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) files.push_back(entry.path());
  return files;
}

// The examples of RFC 3720, appendix B.4, and the check value of the CRC catalogue
// ("CRC-32/ISCSI").
TEST(Crc32c, EqualsTheRfcsExamples) {
  std::string ascending;
  std::string descending;
  for (int i = 0; i < 32; ++i) {
    ascending += static_cast<char>(i);
    descending += static_cast<char>(31 - i);
  }
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(crc32c(ascending), 0x46dd794eu);
  EXPECT_EQ(crc32c(descending), 0x113fdb5cu);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c("56789", crc32c("1234")), crc32c("123456789"));
}

TEST(Tfrecord, FramesLengthAndMaskedCrcs) {
  const std::string record = tfrecord("abc");
  ASSERT_EQ(record.size(), 8u + 4u + 3u + 4u);
  EXPECT_EQ(record.substr(0, 8), std::string("\x03\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(record.substr(12, 3), "abc");
  const auto word = [&](size_t at) {
    uint32_t value = 0;
    for (size_t i = 4; i > 0; --i)
      value = value << 8 | static_cast<unsigned char>(record[at + i - 1]);
    return value;
  };
  const auto unmasked = [](uint32_t crc) {  // crc32c.h: Unmask
    const uint32_t rotated = crc - 0xa282ead8u;
    return (rotated >> 17) | (rotated << 15);
  };
  EXPECT_EQ(unmasked(word(8)), crc32c(record.substr(0, 8)));
  EXPECT_EQ(unmasked(word(15)), crc32c("abc"));
}

TEST(TensorBoardWriter, MakesTheFolderAndOneNamedFile) {
  const TempDir dir;
  const fs::path folder = dir.path() / "a" / "tensorboard";
  TensorBoardWriter writer(folder);
  const std::vector<fs::path> files = files_in(folder);
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(files[0].filename().string().rfind("events.out.tfevents.", 0), 0u);
}

TEST(TensorBoardWriter, SecondWriterOfTheSameSecondGetsItsOwnFile) {
  const TempDir dir;
  TensorBoardWriter first(dir.path());
  TensorBoardWriter second(dir.path());
  EXPECT_EQ(files_in(dir.path()).size(), 2u);
}

TEST(TensorBoardWriter, AFolderThatCannotBeMadeIsARunError) {
  const TempDir dir;
  write_file_atomic(dir.path() / "file", "x");
  EXPECT_THROW(TensorBoardWriter(dir.path() / "file" / "tensorboard"), RunError);
}

TEST(ReadEventTimes, GivesTheTimesWrittenAndStopsAtDamage) {
  const TempDir dir;
  {
    TensorBoardWriter writer(dir.path());
    writer.add_scalars(1, 1000.5, {{"a", 1}});
    writer.add_scalars(300, 2000.25, {{"a", 2}});
  }
  const std::map<int64_t, double> both = {{1, 1000.5}, {300, 2000.25}};
  EXPECT_EQ(read_event_times(dir.path()), both);

  const fs::path file = files_in(dir.path()).at(0);
  fs::resize_file(file, fs::file_size(file) - 1);
  const std::map<int64_t, double> first = {{1, 1000.5}};
  EXPECT_EQ(read_event_times(dir.path()), first);
  EXPECT_TRUE(read_event_times(dir.path() / "missing").empty());
}

// The real reader: tensorboard's own EventAccumulator, run by the Python of the environment
// PONDER_ORACLE_PYTHON.
class TensorBoardOracle : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* python = std::getenv("PONDER_ORACLE_PYTHON");
    if (python == nullptr || *python == '\0') {
      GTEST_SKIP()
          << "PONDER_ORACLE_PYTHON is unset: set it to a Python that has the package `tensorboard`";
    }
    python_ = python;
  }

  // {tag: [[step, wall_time, value], ...]} as tensorboard reads it.
  nlohmann::json read_back(const fs::path& folder) const {
    const fs::path output = dir_.path() / "read.json";
    const std::string command =
        fmt::format("'{}' '{}/tests/core/read_events.py' '{}' > '{}'", python_, PONDER_SOURCE_DIR,
                    folder.string(), output.string());
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
    return nlohmann::json::parse(read_file(output, "output of tensorboard"));
  }

  TempDir dir_;
  std::string python_;
};

TEST_F(TensorBoardOracle, ReadsTheSameTagsStepsAndValues) {
  const fs::path folder = dir_.path() / "tensorboard";
  {
    TensorBoardWriter writer(folder);
    writer.add_scalars(0, 1700000000.25, {{"eval/accuracy", 0.375}, {"rewards/über/mean", -2.5}});
    writer.add_scalars(1, 1700000001.5, {{"eval/accuracy", 0.1}, {"num_tokens", 16777216}});
    writer.add_scalars(1'000'000'000'000, 1700000002,
                       {{"eval/accuracy", std::numeric_limits<double>::quiet_NaN()}});
  }
  const nlohmann::json read = read_back(folder);
  ASSERT_EQ(read.size(), 3u) << read.dump();
  EXPECT_EQ(read["rewards/über/mean"], nlohmann::json::parse("[[0, 1700000000.25, -2.5]]"));
  EXPECT_EQ(read["num_tokens"], nlohmann::json::parse("[[1, 1700000001.5, 16777216]]"));
  const nlohmann::json& accuracy = read["eval/accuracy"];
  ASSERT_EQ(accuracy.size(), 3u);
  EXPECT_EQ(accuracy[0], nlohmann::json::parse("[0, 1700000000.25, 0.375]"));
  EXPECT_EQ(accuracy[1][2].get<double>(), static_cast<double>(0.1f));
  EXPECT_EQ(accuracy[2][0], 1'000'000'000'000);
  EXPECT_EQ(accuracy[2][2], "nan");
}

}  // namespace
}  // namespace ponder::core
