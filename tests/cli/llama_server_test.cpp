// Sampling from a real server of others, llama-cpp-python's (llama_server.py).
#include <cstdlib>

#include <gtest/gtest.h>

#include "tests/support/small_run.h"

namespace ponder {
namespace {

TEST(LlamaServer, SamplesWithTheModelsLogprobs) {
  const char* python = std::getenv("PONDER_LLAMA_PYTHON");
  if (python == nullptr) {
    GTEST_SKIP()
        << "PONDER_LLAMA_PYTHON is not set: a Python with llama-cpp-python[server], torch, "
           "transformers and gguf";
  }
  const test::Outcome outcome = test::run({python, "tests/cli/llama_server.py", test::kPonder});
  EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
}

}  // namespace
}  // namespace ponder
