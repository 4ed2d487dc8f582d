// Sampling from a real server of others, llama-cpp-python's (llama_server.py).
#include <cstdlib>

#include <gtest/gtest.h>

#include "tests/support/small_run.h"

namespace ponder {
namespace {

TEST(LlamaServer, SamplesWithTheModelsLogprobs) {
  const char* python = std::getenv("PONDER_LLAMA_PYTHON");
  if (python == nullptr) {
    GTEST_SKIP() << "PONDER_LLAMA_PYTHON is not set: the Python that tools/llama-server makes";
  }
  const test::Outcome outcome = test::run({python, "tests/cli/llama_server.py", test::kPonder});
  EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
}

}  // namespace
}  // namespace ponder
