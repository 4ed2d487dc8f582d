// Our Jinja against jinja2 and transformers: templates that PyPI packages carry, chats through
// apply_chat_template, and thousands of templates made by a grammar.
#include <gtest/gtest.h>

#include "tests/support/process.h"

namespace ponder {
namespace {

const std::string kRender = std::string(PONDER_BINARY_DIR) + "/tests/policy/render_lines";

class JinjaOracle : public ::testing::Test {
 protected:
  void SetUp() override {
    if (test::oracle_python().empty())
      GTEST_SKIP() << "PONDER_ORACLE_PYTHON is not set: `make test` sets it where tools/oracle "
                      "could install transformers";
  }
  static test::Outcome compare(std::vector<std::string> words) {
    words.insert(words.begin(), {test::oracle_python(), "tests/policy/jinja_oracle.py", kRender});
    return test::run(words);
  }
};

TEST_F(JinjaOracle, RandomTemplatesRenderTheSame) {
  for (const char* seed : {"1", "90210"}) {
    const test::Outcome outcome = compare({"random", seed, "4000"});
    EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
  }
}

TEST_F(JinjaOracle, PublishedTemplatesRenderTheSame) {
  const test::Outcome outcome = compare({"published"});
  if (outcome.status == 77) GTEST_SKIP() << outcome.err;
  EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
}

TEST_F(JinjaOracle, ChatsRenderAsApplyChatTemplate) {
  const test::Outcome outcome = compare({"chats", "tests/golden/tokenizers/qwen2"});
  EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
}

}  // namespace
}  // namespace ponder
