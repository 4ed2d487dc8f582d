#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/small_run.h"

namespace ponder {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr const char* kModel = "examples/tiny-v3-base";

std::vector<json> lines_of(const std::string& text) {
  std::vector<json> out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) out.push_back(json::parse(line));
  return out;
}

TEST(Verbs, EachHasHelpWithAnExample) {
  for (const std::vector<std::string>& verb :
       std::vector<std::vector<std::string>>{{"train"},
                                             {"eval"},
                                             {"sample"},
                                             {"report"},
                                             {"doctor"},
                                             {"model", "inspect"},
                                             {"model", "logprobs"},
                                             {"model", "tokenize"}}) {
    std::vector<std::string> words = {test::kPonder};
    words.insert(words.end(), verb.begin(), verb.end());
    words.emplace_back("--help");
    const test::Outcome outcome = test::run(words);
    EXPECT_EQ(outcome.status, 0);
    EXPECT_THAT(outcome.out, HasSubstr("Example:"));
  }
  EXPECT_THAT(test::run({test::kPonder, "--version"}).out, HasSubstr("ponder 0."));
}

TEST(Eval, GivesTheFiguresOfACheckpoint) {
  const test::Outcome outcome =
      test::run({test::kPonder, "eval", "--model", kModel, "--num-prompts", "64", "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const json figures = json::parse(outcome.out);
  for (const char* name :
       {"eval/accuracy", "eval/format", "eval/sampled_accuracy", "eval/sampled_format"}) {
    EXPECT_GE(figures.at(name).get<double>(), 0.0);
    EXPECT_LE(figures.at(name).get<double>(), 1.0);
  }
  EXPECT_GT(figures.at("eval/mean_length").get<double>(), 1);
  EXPECT_EQ(figures.at("num_prompts"), 64);
}

TEST(Eval, TakesAJsonlFile) {
  const test::TempDir folder;
  const std::string data = folder.path() / "data.jsonl";
  std::ofstream(data) << R"({"prompt": "User: 1+2+3+4=?\nAssistant:", "answer": 10})"
                      << "\n";
  const test::Outcome outcome =
      test::run({test::kPonder, "eval", "--model", kModel, "--data", data});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("1 problems"));
}

TEST(Sample, SameSeedSameCompletions) {
  const std::vector<std::string> words = {
      test::kPonder, "sample", "--model", kModel, "--prompt", "User: 7+5-3=?\nAssistant:",
      "-n",          "3",      "--seed",  "4"};
  const test::Outcome first = test::run(words), second = test::run(words);
  ASSERT_EQ(first.status, 0) << first.err;
  EXPECT_EQ(first.out, second.out);
  const auto lines = lines_of(first.out);
  ASSERT_EQ(lines.size(), 3u);
  for (const json& line : lines) {
    EXPECT_EQ(line.at("tokens").size(), line.at("logprobs").size());
    EXPECT_EQ(line.at("prompt"), "User: 7+5-3=?\nAssistant:");
    EXPECT_TRUE(line.at("finish_reason") == "stop" || line.at("finish_reason") == "length");
  }
}

// The engine's log-probs are those of a full forward pass over prompt and completion.
TEST(Sample, LogprobsAreThoseOfModelLogprobs) {
  const test::TempDir folder;
  const std::string prompt = "User: 9-4+7+1=?\nAssistant:", text_file = folder.path() / "t.jsonl",
                    token_file = folder.path() / "k.jsonl";
  const auto sampled =
      lines_of(test::run({test::kPonder, "sample", "--model", kModel, "--prompt", prompt}).out);
  std::ofstream(text_file) << json{{"text", prompt}}.dump() << "\n";
  const auto encoded = lines_of(
      test::run({test::kPonder, "model", "tokenize", "--model", kModel, "--input", text_file}).out);
  std::vector<int> tokens = encoded.at(0).at("tokens");
  const size_t prompt_length = tokens.size();
  for (const int token : sampled.at(0).at("tokens")) tokens.push_back(token);
  std::ofstream(token_file) << json{{"tokens", tokens}}.dump() << "\n";
  const auto scored = lines_of(
      test::run({test::kPonder, "model", "logprobs", "--model", kModel, "--input", token_file})
          .out);
  const std::vector<float> want = scored.at(0).at("logprobs"), got = sampled.at(0).at("logprobs");
  ASSERT_EQ(want.size(), tokens.size() - 1);
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[prompt_length - 1 + i], 1e-4);
}

TEST(ModelTokenize, GoesThereAndBack) {
  const test::TempDir folder;
  const std::string text_file = folder.path() / "t.jsonl", token_file = folder.path() / "k.jsonl";
  const std::string text = "<think>7+5=12; 99</think>\nümlaut \xF0\x9F\x98\x80 tab\t";
  std::ofstream(text_file) << json{{"text", text}}.dump() << "\n";
  const test::Outcome encoded =
      test::run({test::kPonder, "model", "tokenize", "--model", kModel, "--input", text_file});
  ASSERT_EQ(encoded.status, 0) << encoded.err;
  std::ofstream(token_file) << encoded.out;
  const test::Outcome decoded = test::run(
      {test::kPonder, "model", "tokenize", "--model", kModel, "--decode", "--input", token_file});
  EXPECT_EQ(lines_of(decoded.out).at(0).at("text"), text);
}

TEST(ModelLogprobs, RefusesWhatIsNoToken) {
  const test::TempDir folder;
  const std::string file = folder.path() / "k.jsonl";
  for (const char* line : {"{\"tokens\": [1, 99999]}", "{\"tokens\": [-1]}", "{\"tokens\": [1.5]}",
                           "{}", "nonsense"}) {
    std::ofstream(file) << line << "\n";
    const test::Outcome outcome =
        test::run({test::kPonder, "model", "logprobs", "--model", kModel, "--input", file});
    EXPECT_EQ(outcome.status, 2) << line;
    EXPECT_THAT(outcome.err, HasSubstr("k.jsonl:1")) << line;
  }
}

TEST(Report, IsMadeAgain) {
  const test::TempDir folder;
  const auto run = folder.path() / "run";
  ASSERT_EQ(test::run(test::small_run(run, {"--max-steps", "1", "eval.num_prompts=0"})).status, 0);
  std::filesystem::remove(run / "report.html");
  const test::Outcome outcome = test::run({test::kPonder, "report", run.string()});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(test::read_text(run / "report.html"), HasSubstr("<html"));
  EXPECT_EQ(test::run({test::kPonder, "report", (folder.path() / "nowhere").string()}).status, 2);
}

TEST(Doctor, NamesTheMachine) {
  const test::Outcome outcome = test::run({test::kPonder, "doctor", "--json"});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  const json found = json::parse(outcome.out);
  EXPECT_GE(found.at("cores").get<int>(), 1);
  EXPECT_TRUE(found.contains("instruction_sets"));
  EXPECT_TRUE(found.at("sandbox").contains("isolation"));
  EXPECT_THAT(found.at("sandbox_languages").at("python").get<std::string>(), HasSubstr("works: /"));
}

TEST(Recipes, AllThatShipAreInOrder) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("recipes")) {
    if (entry.path().extension() != ".toml") continue;
    // It is for the user's own model and data: grpo_modes_test checks it with the demo's.
    if (entry.path().filename() == "r1_zero.toml") continue;
    const test::Outcome outcome =
        test::run({test::kPonder, "train", entry.path().string(), "--check"});
    EXPECT_EQ(outcome.status, 0) << entry.path() << outcome.err;
    ++count;
  }
  EXPECT_GE(count, 2);
}

}  // namespace
}  // namespace ponder
