// Reads a Parquet file that pyarrow wrote, through ponder-parquet. Skipped where tools/parquet has
// not been run, or PONDER_ORACLE_PYTHON names no Python with pyarrow.
#include "data/parquet.h"

#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "data/dataset.h"
#include "tests/support/temp_dir.h"

namespace ponder::data {
namespace {

constexpr const char* kWriter = R"(
import datetime, decimal, sys
import pyarrow as pa, pyarrow.parquet as pq
pq.write_table(pa.table({
    "prompt": [[{"role": "user", "content": "2+2=\u00e9?\n\"x\""}], [{"role": "user", "content": "b"}]],
    "data_source": pa.array(["gsm8k", None]).dictionary_encode(),
    "reward_model": [{"style": "rule", "ground_truth": "4"}, {"style": "rule", "ground_truth": None}],
    "n": pa.array([1, -9223372036854775808]), "f": [0.1, float("nan")], "b": [True, False],
    "d": [datetime.date(2024, 5, 6), None], "dec": [decimal.Decimal("1.50"), None],
    "m": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
    "pair": pa.array([[1, 2], [3, 4]], pa.list_(pa.int32(), 2))}), sys.argv[1])
)";

class Parquet : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string reader = PONDER_BINARY_DIR "/ponder-parquet";
    const char* python = std::getenv("PONDER_ORACLE_PYTHON");
    if (!std::filesystem::exists(reader) || python == nullptr)
      GTEST_SKIP() << "no reader or oracle";
    ::setenv("PONDER_PARQUET", reader.c_str(), 1);
    std::ofstream(folder_.path() / "write.py") << kWriter;
    const std::string command = std::string(python) + " " + (folder_.path() / "write.py").string() +
                                " " + file().string() + " 2> /dev/null";
    if (std::system(command.c_str()) != 0) GTEST_SKIP() << "the oracle has no pyarrow";
  }
  void TearDown() override { ::unsetenv("PONDER_PARQUET"); }
  std::filesystem::path file() const { return folder_.path() / "train.parquet"; }

  test::TempDir folder_;
};

TEST_F(Parquet, ValuesComeAsJson) {
  std::istringstream lines(read_parquet_as_jsonl(file()));
  std::string line;
  std::vector<Json> rows;
  while (std::getline(lines, line)) rows.push_back(Json::parse(line));
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0]["prompt"][0]["content"], "2+2=\u00e9?\n\"x\"");
  EXPECT_EQ(rows[0]["data_source"], "gsm8k");
  EXPECT_TRUE(rows[1]["data_source"].is_null());
  EXPECT_EQ(rows[1]["n"], std::numeric_limits<int64_t>::min());
  EXPECT_EQ(rows[0]["f"], 0.1);
  EXPECT_TRUE(rows[1]["f"].is_null());
  EXPECT_EQ(rows[0]["b"], true);
  EXPECT_EQ(rows[0]["d"], "2024-05-06");
  EXPECT_EQ(rows[0]["dec"], "1.50");
  EXPECT_EQ(rows[0]["m"], Json::parse(R"([["k", 1]])"));
  EXPECT_EQ(rows[1]["pair"], Json::parse("[3, 4]"));
}

TEST_F(Parquet, AFolderOfThemIsADataset) {
  const auto problems = read_problems(folder_.path(), "train", {.layout = "verl", .columns = {}});
  ASSERT_EQ(problems.size(), 2u);
  EXPECT_EQ(problems[0].prompt.answer, "4");
  EXPECT_EQ(problems[1].messages[0]["content"], "b");
}

TEST_F(Parquet, WhatIsNoneIsAUsersError) {
  std::ofstream(file()) << "junk, and more than twelve bytes of it";
  EXPECT_THROW(read_parquet_as_jsonl(file()), core::UserError);
}

}  // namespace
}  // namespace ponder::data
