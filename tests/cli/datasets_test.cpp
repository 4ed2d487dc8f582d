// Data sets and tasks as a recipe names them, end to end.
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

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

void write_lines(const std::string& path, const std::vector<nlohmann::json>& rows) {
  std::ofstream file(path);
  for (const nlohmann::json& row : rows) file << row.dump() << "\n";
}

std::vector<nlohmann::json> sums(int count) {
  std::vector<nlohmann::json> rows;
  for (int i = 0; i < count; ++i)
    rows.push_back({{"prompt", fmt::format("User: {}+2=?\nAssistant:", i)}, {"answer", i + 2}});
  return rows;
}

// A held-out prompt is none of those that are trained on, however often it stands in the file.
TEST(Datasets, APromptThatIsThereTwiceIsOnOneSideOfTheSplit) {
  const test::TempDir folder;
  const std::string data = folder.path() / "twice.jsonl";
  std::vector<nlohmann::json> rows = sums(20);
  for (const nlohmann::json& row : sums(20)) rows.push_back(row);
  write_lines(data, rows);
  const fs::path run = folder.path() / "run";
  const test::Outcome outcome = test::run(
      test::small_run(run, {"dataset.name=" + data, "dataset.test_share=0.3", "grpo.max_steps=10",
                            "eval.num_prompts=100", "save.completions_per_step=100"}));
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const auto prompts_in = [&](const char* part) {
    std::set<std::string> out;
    for (const auto& entry : fs::recursive_directory_iterator(run / part)) {
      std::istringstream lines(test::read_text(entry.path()));
      for (std::string line; std::getline(lines, line);)
        out.insert(nlohmann::json::parse(line).at("prompt").get<std::string>());
    }
    return out;
  };
  const std::set<std::string> trained = prompts_in("completions"),
                              held_out = prompts_in("evaluations");
  EXPECT_FALSE(held_out.empty());
  for (const std::string& prompt : held_out) EXPECT_FALSE(trained.contains(prompt)) << prompt;
}

TEST(Datasets, EvaluationSetsMayHaveAnotherLayout) {
  const test::TempDir folder;
  const std::string data = folder.path() / "train.jsonl", other = folder.path() / "other.jsonl";
  write_lines(data, sums(30));
  write_lines(other, {{{"problem", "user 7 2 assistant"}, {"solution", "9"}},
                      {{"question", "what is 1+1"}, {"answer", 2}}});
  const test::Outcome outcome =
      check({"dataset.name=" + data, "dataset.decontaminate=[\"" + other + "\"]",
             "dataset.decontaminate_ngram=4", "eval.dataset=" + other});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("1 prompts share 4 words"));
}

TEST(Datasets, AFileThatWasChangedBetweenTwoStartsIsNoticed) {
  const test::TempDir folder;
  const std::string data = folder.path() / "train.jsonl";
  const auto start = [&](const char* steps) {
    const test::Outcome outcome = test::run(
        test::small_run(folder.path() / "run",
                        {"dataset.name=" + data, "eval.num_prompts=0", "--max-steps", steps}));
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return outcome.err;
  };
  write_lines(data, sums(30));
  start("1");
  EXPECT_THAT(start("2"), ::testing::Not(HasSubstr("are not those")));
  write_lines(data, sums(31));
  EXPECT_THAT(start("3"), HasSubstr("are not those that the checkpoint was made with"));
}

TEST(Datasets, WhatATaskCannotDoIsAnError) {
  EXPECT_THAT(check({"dataset.name=countdown", "dataset.curriculum.max_pass_rate=0.1"}).err,
              HasSubstr("never come again"));
  EXPECT_THAT(check({"dataset.name=countdown", "dataset.decontaminate=[\"/nope.jsonl\"]"}).err,
              HasSubstr("dataset.decontaminate: the task countdown"));
}

TEST(Datasets, AnEvaluationPromptWithoutRoomIsAnErrorBeforeTraining) {
  const test::TempDir folder;
  const std::string data = folder.path() / "long.jsonl";
  write_lines(data, {{{"prompt", std::string(4000, 'x')}, {"answer", 2}}});
  const test::Outcome outcome = check({"eval.dataset=" + data, "eval.num_prompts=1"});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.err, HasSubstr("long.jsonl:1: prompt '1' has"));
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
