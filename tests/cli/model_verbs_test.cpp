// `ponder model` on folders of every kind, and pretraining with multi-token prediction.
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/small_run.h"

namespace ponder {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kModel = "examples/tiny-v3-base";

void write(const fs::path& path, const std::string& text) {
  std::ofstream(path) << text;
}

std::vector<float> logprobs(const std::string& dtype, const fs::path& input) {
  const test::Outcome outcome = test::run(
      {test::kPonder, "model", "logprobs", "--model", kModel, "--input", input, "--dtype", dtype});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  return json::parse(outcome.out).at("logprobs").get<std::vector<float>>();
}

TEST(ModelLogprobs, InBfloat16AreNearThoseInFloat32) {
  const test::TempDir dir;
  write(dir.path() / "in.jsonl", R"({"tokens": [5, 40, 33, 60, 7, 12, 90, 8]})");
  const std::vector<float> full = logprobs("float32", dir.path() / "in.jsonl"),
                           half = logprobs("bfloat16", dir.path() / "in.jsonl");
  ASSERT_EQ(full.size(), 7u);
  ASSERT_EQ(half.size(), 7u);
  EXPECT_NE(full, half);
  for (size_t i = 0; i < full.size(); ++i)
    EXPECT_NEAR(full[i], half[i], 0.1 + 0.05 * std::abs(full[i]));
}

// Finite weights, and a rope whose angles are not: what is computed is not finite.
TEST(ModelLogprobs, LogitsThatAreNotFiniteAreAnError) {
  const test::TempDir dir;
  for (const auto& entry : fs::directory_iterator(kModel))
    fs::copy_file(entry.path(), dir.path() / entry.path().filename());
  json config = json::parse(test::read_text(fs::path(kModel) / "config.json"));
  config.erase("rope_parameters");
  config["rope_theta"] = 1e-300;
  write(dir.path() / "config.json", config.dump());
  write(dir.path() / "in.jsonl", R"({"tokens": [5, 6, 7]})");
  const test::Outcome scored = test::run({test::kPonder, "model", "logprobs", "--model", dir.path(),
                                          "--input", dir.path() / "in.jsonl"});
  EXPECT_EQ(scored.status, 1);
  EXPECT_EQ(scored.out, "");
  EXPECT_THAT(scored.err, HasSubstr("in.jsonl:1: the model's logits are not finite at tokens["));
  const test::Outcome sampled = test::run({test::kPonder, "sample", "--model", dir.path(),
                                           "--prompt", "User: 1+1=?", "--max-new-tokens", "4"});
  EXPECT_EQ(sampled.status, 1);
  EXPECT_EQ(sampled.out, "");
  EXPECT_THAT(sampled.err, HasSubstr("prompt '1': the model's logits are not finite at token 0"));
}

TEST(ModelLogprobs, OneTokenOrNoneHasNone) {
  const test::TempDir dir;
  write(dir.path() / "in.jsonl", "{\"tokens\": []}\n{\"tokens\": [5]}\n{\"tokens\": [5, 6]}");
  const test::Outcome outcome = test::run(
      {test::kPonder, "model", "logprobs", "--model", kModel, "--input", dir.path() / "in.jsonl"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.out,
              ::testing::StartsWith("{\"logprobs\":[]}\n{\"logprobs\":[]}\n{\"logprobs\":[-"));
}

TEST(ModelLogprobs, WrongLinesAreErrorsThatNameLineAndKey) {
  const std::pair<std::string, std::string> cases[] = {
      {R"({"tokens": [5, 451]})", "tokens[1]: expected a token id from 0 to 450, found 451"},
      {R"({"tokens": [-1]})", "tokens[0]: expected a token id from 0 to 450, found -1"},
      {R"({"tokens": [5, 1.0]})", "found 1.0"},
      {R"({"tokens": [true]})", "found true"},
      {R"({"tokens": [18446744073709551615]})", "found 18446744073709551615"},
      {R"({"tokens": "5 6"})", "tokens: expected a list of token ids, found \"5 6\""},
      {R"({"token": [5]})", "there is no key 'tokens', is 'token' meant?"},
      {R"({"tokens": [5], "tokens": [6]})", "the key 'tokens' is given twice"},
      {R"([5, 6])", "expected a JSON object, found array"},
      {R"({"tokens": [5)", "broken JSON"},
      {"{\"tokens\": [5], \"x\": \"\xff\"}", "broken JSON"},
      {"", "an empty line"},
  };
  const test::TempDir dir;
  const fs::path input = dir.path() / "in.jsonl";
  for (const auto& [line, message] : cases) {
    SCOPED_TRACE(line);
    write(input, "{\"tokens\": [5, 6]}\n" + line + "\n");
    const test::Outcome outcome = test::run(
        {test::kPonder, "model", "logprobs", "--model", kModel, "--input", input.string()});
    EXPECT_EQ(outcome.status, 2);
    EXPECT_THAT(outcome.err, HasSubstr("in.jsonl:2: "));
    EXPECT_THAT(outcome.err, HasSubstr(message));
  }
  const test::Outcome folder = test::run(
      {test::kPonder, "model", "logprobs", "--model", kModel, "--input", dir.path().string()});
  EXPECT_EQ(folder.status, 2);
  EXPECT_THAT(folder.err, HasSubstr("expected a JSONL file"));
}

TEST(ModelConvert, MergesAnAdapter) {
  const test::TempDir dir;
  const fs::path merged = dir.path() / "merged", adapter = dir.path() / "run/checkpoints/2/adapter";
  const test::Outcome trained = test::run(
      test::small_run(dir.path() / "run", {"training.use_peft=true", "grpo.max_steps=2"}));
  ASSERT_EQ(trained.status, 0) << trained.err;
  const test::Outcome outcome = test::run({test::kPonder, "model", "convert", kModel, merged,
                                           "--dtype", "float32", "--adapter", adapter});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_EQ(test::read_text(merged / "model.safetensors"),
            test::read_text(dir.path() / "run/checkpoints/2/model.safetensors"));
  write(dir.path() / "in.jsonl", "{\"tokens\": [5, 40, 33, 60]}\n");
  const auto scored = [&](const fs::path& model, const std::vector<std::string>& more) {
    std::vector<std::string> words = {
        test::kPonder, "model", "logprobs", "--model", model, "--input", dir.path() / "in.jsonl"};
    words.insert(words.end(), more.begin(), more.end());
    return test::run(words).out;
  };
  EXPECT_EQ(scored(kModel, {"--adapter", adapter}), scored(merged, {}));
  EXPECT_NE(scored(kModel, {}), scored(merged, {}));
}

TEST(ModelLogprobs, RefusesAnUnknownDtype) {
  const test::Outcome outcome =
      test::run({test::kPonder, "model", "logprobs", "--model", kModel, "--dtype", "float8"});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.err, HasSubstr("--dtype"));
}

TEST(ModelInspect, CountsWhatAConfigAloneDescribes) {
  const test::TempDir dir;
  fs::copy_file("tests/policy/configs/deepseek_v3_671b.json", dir.path() / "config.json");
  const test::Outcome outcome =
      test::run({test::kPonder, "model", "inspect", "--model", dir.path()});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("(671 B)"));
  EXPECT_THAT(outcome.out, HasSubstr("active for a token (37."));
  EXPECT_THAT(outcome.out, HasSubstr("no weights in this folder"));
  EXPECT_THAT(outcome.out,
              HasSubstr("model.layers.*.mlp.experts.*.gate_proj.weight [2048, 7168] x 15104"));
}

TEST(ModelInspect, ReadsTheWeightsWhereThereAreSome) {
  const test::Outcome outcome = test::run({test::kPonder, "model", "inspect", "--model", kModel});
  ASSERT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("deepseek_v3, "));
  EXPECT_THAT(outcome.out, Not(HasSubstr("no weights")));
}

TEST(Pretrain, TrainsModulesForMultiTokenPredictionAndKeepsThem) {
  const test::TempDir dir;
  const fs::path base = dir.path() / "base", run = dir.path() / "run";
  fs::create_directory(base);
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "generation_config.json"})
    fs::copy_file(fs::path(kModel) / name, base / name);
  json config = json::parse(test::read_text(fs::path(kModel) / "config.json"));
  config["num_nextn_predict_layers"] = 1;
  write(base / "config.json", config.dump());
  const test::Outcome trained = test::run(
      {test::kPonder, "train", "recipes/tiny_base.toml", "--run", run, "--max-steps", "30",
       "model_name_or_path=" + base.string(), "pretrain.tokens_per_step=512",
       "pretrain.aux_loss.sequence=0.01", "eval.num_prompts=0", "optimizer.warmup_steps=5"});
  ASSERT_EQ(trained.status, 0) << trained.err;
  const auto records = core::read_metrics(run / "metrics.jsonl");
  const auto value = [&](size_t i, const char* name) { return records.at(i).metrics.at(name); };
  EXPECT_LT(value(29, "mtp/loss"), value(0, "mtp/loss") - 1);
  EXPECT_GT(value(29, "moe/aux_loss"), 3 * 0.009);  // three mixtures, each near 1, by 0.01
  const std::string index = test::read_text(run / "checkpoints/latest/config.json");
  EXPECT_EQ(json::parse(index).at("num_nextn_predict_layers"), 1);
  const test::Outcome inspected =
      test::run({test::kPonder, "model", "inspect", "--model", run / "checkpoints/latest"});
  ASSERT_EQ(inspected.status, 0) << inspected.err;
  EXPECT_THAT(inspected.out, HasSubstr("1 modules for multi-token prediction"));
  EXPECT_THAT(inspected.out, HasSubstr("model.layers.*.eh_proj.weight [96, 192]"));
}

}  // namespace
}  // namespace ponder
