// What ponder saves, transformers loads, and both give the same numbers.
#include <gtest/gtest.h>

#include "tests/support/small_run.h"

namespace ponder {
namespace {

class Transformers : public ::testing::Test {
 protected:
  void SetUp() override {
    if (test::oracle_python().empty())
      GTEST_SKIP() << "PONDER_ORACLE_PYTHON is not set: `make test` sets it where tools/oracle "
                      "could install transformers";
  }
  static void expect_agreement(const std::string& model) {
    const test::Outcome outcome = test::run(
        {test::oracle_python(), "tests/cli/compare_transformers.py", test::kPonder, model});
    EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
  }
};

TEST_F(Transformers, AgreesOnTheShippedBaseModel) {
  expect_agreement("examples/tiny-v3-base");
}

TEST_F(Transformers, AgreesOnACheckpoint) {
  const test::TempDir folder;
  const auto run = folder.path() / "run";
  ASSERT_EQ(test::run(test::small_run(run, {"--max-steps", "2", "eval.num_prompts=0"})).status, 0);
  expect_agreement((run / "checkpoints/latest").string());
}

}  // namespace
}  // namespace ponder
