// Data sets and tasks as a recipe names them, end to end.
#include <fstream>
#include <nlohmann/json.hpp>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/small_run.h"

namespace ponder {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

test::Outcome check(std::vector<std::string> words) {
  const test::TempDir folder;
  words.emplace_back("--check");
  return test::run(test::small_run(folder.path() / "run", words));
}

TEST(Datasets, EveryTaskIsOneLineOfARecipe) {
  for (const char* task : {"arithmetic", "countdown", "linear_equations"}) {
    const test::Outcome outcome = check({std::string("dataset.name=") + task});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_THAT(outcome.out, HasSubstr("\"User: ")) << task;
    EXPECT_THAT(outcome.out, HasSubstr("\\nAssistant:\"")) << task;
  }
  const test::Outcome mistyped = check({"dataset.name=countdwn"});
  EXPECT_EQ(mistyped.status, 2);
  EXPECT_THAT(mistyped.err, HasSubstr("did you mean 'countdown'?"));
}

TEST(Datasets, MessagesNeedATemplateAndGetIt) {
  const test::TempDir folder;
  const std::string data = folder.path() / "verl.jsonl";
  {
    std::ofstream file(data);
    for (int i = 0; i < 30; ++i) {
      file << nlohmann::json{{"data_source", i % 2 == 0 ? "even" : "odd"},
                             {"prompt",
                              {{{"role", "user"}, {"content", std::to_string(i) + "+1=?"}}}},
                             {"reward_model", {{"ground_truth", std::to_string(i + 1)}}}}
                  .dump()
           << "\n";
    }
  }
  const std::vector<std::string> words = {"dataset.name=" + data, "dataset.layout=verl",
                                          "dataset.domain_column=data_source"};
  EXPECT_THAT(check(words).err, HasSubstr("set dataset.prompt_template"));
  std::vector<std::string> more = words;
  more.insert(more.end(), {R"(dataset.prompt_template=Be {system}. User: {prompt} Assistant:)",
                           "dataset.system_prompt=brief", "eval.num_prompts=0"});
  const test::Outcome outcome = check(more);
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("\"Be brief. User: "));
  const fs::path run = folder.path() / "run";
  ASSERT_EQ(test::run(test::small_run(run, more)).status, 0);
  const auto last = core::read_metrics(run / "metrics.jsonl").back().metrics;
  EXPECT_NEAR(last.at("domain/even/share") + last.at("domain/odd/share"), 1, 1e-12);
  EXPECT_GT(last.at("curriculum/prompts"), 15);
  EXPECT_GT(last.at("epoch"), 0.8);
}

TEST(Datasets, CurriculumStateGoesOnExactlyAndEvaluationSetsAreKeptOut) {
  const test::TempDir folder;
  const std::string data = folder.path() / "train.jsonl", test_set = folder.path() / "test.jsonl";
  {
    std::ofstream train(data), test(test_set);
    for (int i = 0; i < 30; ++i)
      train << nlohmann::json{{"prompt", fmt::format("User: {}+2=?\nAssistant:", i)},
                              {"answer", i + 2}}
            << "\n";
    test << nlohmann::json{{"prompt", "user 7 2 assistant"}, {"answer", 9}} << "\n";
  }
  const std::vector<std::string> words = {"dataset.name=" + data,
                                          "dataset.decontaminate=[\"" + test_set + "\"]",
                                          "dataset.decontaminate_ngram=4",
                                          "dataset.curriculum.min_pass_rate=0.01",
                                          "dataset.curriculum.resample=0.25",
                                          "grpo.max_steps=12",
                                          "eval.num_prompts=0"};
  const fs::path whole = folder.path() / "whole", stopped = folder.path() / "stopped";
  const test::Outcome outcome = test::run(test::small_run(whole, words));
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("1 prompts share 4 words"));
  for (const char* steps : {"5", "9", "12"}) {
    std::vector<std::string> more = words;
    more.insert(more.end(), {"--max-steps", steps});
    ASSERT_EQ(test::run(test::small_run(stopped, more)).status, 0);
  }
  EXPECT_EQ(test::stable_metrics(stopped), test::stable_metrics(whole));
  EXPECT_GT(core::read_metrics(whole / "metrics.jsonl").back().metrics.at("curriculum/skipped"), 0);
}

TEST(Datasets, MorePromptsThanThereAreIsNamed) {
  const test::TempDir folder;
  const std::string data = folder.path() / "few.jsonl";
  std::ofstream(data) << R"({"prompt": "1+1=?", "answer": 2})"
                      << "\n"
                      << R"({"prompt": "1+2=?", "answer": 3})"
                      << "\n";
  const test::Outcome outcome =
      check({"dataset.name=" + data, "dataset.test_share=0", "eval.num_prompts=0"});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.err, HasSubstr("the dataset has 2 to train on: set it to 2 or less"));
}

}  // namespace
}  // namespace ponder
