// What the demo must show, for three seeds; and that the base model's recipe gives the same bits
// again.
#include <gtest/gtest.h>

#include "tests/support/small_run.h"

namespace ponder {
namespace {

TEST(Demo, EverySeedLearnsToReason) {
  const test::TempDir folder;
  for (const char* seed : {"1", "2", "3"}) {
    SCOPED_TRACE(seed);
    const auto run = folder.path() / seed;
    const test::Outcome outcome = test::run({test::kPonder, "train", "recipes/r1_zero_tiny.toml",
                                             "--seed", seed, "--run", run.string()});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    const auto records = core::read_metrics(run / "metrics.jsonl");
    const auto &before = records.front().metrics, &after = records.back().metrics;
    EXPECT_LE(before.at("eval/accuracy"), 0.40);
    EXPECT_LE(before.at("eval/sampled_accuracy"), 0.45);
    EXPECT_GE(after.at("eval/accuracy"), 0.92);
    EXPECT_GE(after.at("eval/sampled_accuracy"), 0.85);
    EXPECT_GE(after.at("eval/format"), 0.97);
    EXPECT_GE(after.at("eval/sampled_format"), 0.97);
    EXPECT_GE(after.at("eval/mean_length"), 1.7 * before.at("eval/mean_length"));
    EXPECT_GE(after.at("eval/sampled_mean_length"), 1.7 * before.at("eval/sampled_mean_length"));
  }
}

TEST(TinyBase, IsReproducibleFromItsSeed) {
  const test::TempDir folder;
  std::vector<std::string> weights;
  for (const char* name : {"a", "b"}) {
    const auto run = folder.path() / name;
    const test::Outcome outcome =
        test::run({test::kPonder, "train", "recipes/tiny_base.toml", "--run", run.string(),
                   "--max-steps", "100", "eval.num_prompts=16"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    weights.push_back(test::read_text(run / "checkpoints/latest/model.safetensors"));
  }
  EXPECT_FALSE(weights[0].empty());
  EXPECT_EQ(weights[0], weights[1]);
}

}  // namespace
}  // namespace ponder
