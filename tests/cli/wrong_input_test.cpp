// Each wrong input is one clear line on stderr that names the place and the remedy, and exit
// status 2.
#include <algorithm>
#include <fstream>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/small_run.h"

namespace ponder {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

void expect_wrong(const std::vector<std::string>& words, const std::string& want) {
  const test::Outcome outcome = test::run(words);
  EXPECT_EQ(outcome.status, 2) << outcome.out << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr(want));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
}

// A copy of the shipped base model that `change` has damaged.
class DamagedModel : public ::testing::Test {
 protected:
  void expect_refused(const std::function<void(const fs::path&)>& change, const std::string& want) {
    const fs::path model = folder_.path() / "model";
    fs::copy("examples/tiny-v3-base", model);
    change(model);
    expect_wrong(
        test::small_run(folder_.path() / "run", {"model_name_or_path=\"" + model.string() + "\""}),
        want);
    EXPECT_FALSE(fs::exists(folder_.path() / "run"));  // nothing half made
    fs::remove_all(model);
  }
  static void overwrite(const fs::path& path, std::streamoff at, const std::string& bytes) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(at);
    file << bytes;
  }
  static void replace(const fs::path& path, const std::string& from, const std::string& to) {
    std::string text = test::read_text(path);
    ASSERT_NE(text.find(from), std::string::npos);
    text.replace(text.find(from), from.size(), to);
    std::ofstream(path, std::ios::binary) << text;
  }
  test::TempDir folder_;
};

TEST_F(DamagedModel, IsNamed) {
  const auto weights = [](const fs::path& m) { return m / "model.safetensors"; };
  expect_refused([&](const fs::path& m) { fs::remove(weights(m)); }, "model.safetensors");
  expect_refused(
      [&](const fs::path& m) { fs::resize_file(weights(m), fs::file_size(weights(m)) / 2); },
      "truncated");
  expect_refused([&](const fs::path& m) { fs::resize_file(weights(m), 5); }, "model.safetensors");
  expect_refused([&](const fs::path& m) { overwrite(weights(m), 0, "\xff\xff\xff\xff"); },
                 "model.safetensors");
  expect_refused([&](const fs::path& m) { overwrite(weights(m), 8, "xxxx"); }, "model.safetensors");
  expect_refused(
      [&](const fs::path& m) { overwrite(weights(m), fs::file_size(weights(m)) - 2, "\xff\xff"); },
      "not finite");
  expect_refused([](const fs::path& m) { fs::remove(m / "config.json"); }, "config.json");
  expect_refused([](const fs::path& m) { fs::remove(m / "tokenizer.json"); }, "tokenizer.json");
  expect_refused(
      [](const fs::path& m) { replace(m / "config.json", "deepseek_v3", "deepseek_v9"); },
      "did you mean 'deepseek_v3'?");
  expect_refused(
      [](const fs::path& m) {
        replace(m / "config.json", "\"hidden_size\": 96", "\"hidden_size\": 64");
      },
      "expected shape");
  expect_refused(
      [](const fs::path& m) {
        replace(m / "config.json", "\"eos_token_id\": 1", "\"eos_token_id\": 4000");
      },
      "eos_token_id 4000");
  expect_refused(
      [](const fs::path& m) {  // one token more than the model's embedding has
        replace(m / "tokenizer.json", "\"added_tokens\": [",
                "\"added_tokens\": [{\"id\": 451, \"content\": \"<more>\", \"special\": false, "
                "\"single_word\": false, \"lstrip\": false, \"rstrip\": false, "
                "\"normalized\": false},");
      },
      "the tokenizer does not fit the model");
}

TEST(WrongInput, OfTheRecipeIsNamed) {
  const test::TempDir folder;
  const auto with = [&](const std::string& word) {
    return test::small_run(folder.path() / "run", {word});
  };
  expect_wrong(with("grpo.num_generation=4"),
               "grpo.num_generation: unknown key, did you mean 'num_generations'?");
  expect_wrong(with("grpo.num_generations=many"),
               "grpo.num_generations: expected an integer, found the string 'many'");
  expect_wrong(with("grpo.loss.loss_type=dappo"), "did you mean 'dapo'?");
  expect_wrong(with("reward.reward_funcs=[\"acuracy\"]"),
               "reward_weights has 2 entries, expected 1");
  expect_wrong(with("reward.reward_funcs=[\"acuracy\", \"format\"]"),
               "unknown reward 'acuracy', did you mean 'accuracy'?");
  expect_wrong(with("model_name_or_path=nowhere"), "no model folder nowhere");
  expect_wrong(with("stage=grop"), "unknown stage 'grop', did you mean 'grpo'?");
  expect_wrong({test::kPonder, "train", "recipes/nowhere.toml"},
               "cannot read the recipe recipes/nowhere.toml");
  EXPECT_TRUE(fs::is_empty(folder.path()));
  std::ofstream(folder.path() / "r.toml") << "stage = \"grpo\"\nsed = 1\n";
  expect_wrong({test::kPonder, "train", (folder.path() / "r.toml").string()},
               "r.toml:2:7: sed: unknown key, did you mean 'seed'?");
}

TEST(WrongInput, OfTheDatasetIsNamed) {
  const test::TempDir folder;
  const fs::path data = folder.path() / "data.jsonl";
  const auto words =
      test::small_run(folder.path() / "run", {"dataset.name=\"" + data.string() + "\""});
  expect_wrong(words, "cannot read the dataset " + data.string());
  std::ofstream(data) << "\n";
  expect_wrong(words, "the dataset " + data.string() + " is empty");
  std::ofstream(data) << "{\"prompt\": \"1+1=?\", \"answer\": 2}\n{\"prompt\"\n";
  expect_wrong(words, "data.jsonl:2: broken JSON");
}

TEST(WrongInput, ARunFolderOfAnotherRecipeIsLeftAlone) {
  const test::TempDir folder;
  const fs::path run = folder.path() / "run";
  ASSERT_EQ(test::run(test::small_run(run, {"--max-steps", "1", "eval.num_prompts=0"})).status, 0);
  const std::string before = test::read_text(run / "metrics.jsonl");
  expect_wrong(test::small_run(run, {"eval.num_prompts=0", "grpo.temperature=0.9"}),
               "was made by another recipe: grpo.temperature is 1.0 there and 0.9 here");
  EXPECT_EQ(test::read_text(run / "metrics.jsonl"), before);
  std::ofstream(folder.path() / "note.txt") << "mine";
  expect_wrong(test::small_run(folder.path()), "is not empty and no run's folder");
}

// A tmpfs that is too small for two checkpoints. Needs the right to mount.
TEST(WrongInput, AFullDiskLosesNothing) {
  const test::TempDir folder;
  const std::string disk = (folder.path() / "disk").string();
  fs::create_directory(disk);
  if (test::run({"mount", "-t", "tmpfs", "-o", "size=14m", "tmpfs", disk}).status != 0)
    GTEST_SKIP() << "may not mount a tmpfs";
  const auto words =
      test::small_run(disk + "/run", {"eval.num_prompts=0", "save.save_total_limit=6"});
  const test::Outcome full = test::run(words);
  EXPECT_EQ(full.status, 2) << full.out << full.err;
  EXPECT_THAT(full.err, HasSubstr("No space left on device"));
  EXPECT_TRUE(fs::exists(disk + "/run/checkpoints/latest/trainer.safetensors"));
  for (const auto& entry : fs::directory_iterator(disk + "/run/checkpoints")) {
    EXPECT_NE(entry.path().extension(), ".part") << entry.path();
  }
  EXPECT_EQ(test::run({"mount", "-o", "remount,size=200m", disk}).status, 0);
  EXPECT_EQ(test::run(words).status, 0);
  ASSERT_EQ(test::run(test::small_run(folder.path() / "whole",
                                      {"eval.num_prompts=0", "save.save_total_limit=6"}))
                .status,
            0);
  EXPECT_EQ(test::stable_metrics(disk + "/run"), test::stable_metrics(folder.path() / "whole"));
  EXPECT_EQ(test::run({"umount", disk}).status, 0);
}

TEST(WrongInput, OfTheProgramIsExplained) {
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{test::kPonder},
                                             {test::kPonder, "trian"},
                                             {test::kPonder, "train"},
                                             {test::kPonder, "train", "--seed"}}) {
    const test::Outcome outcome = test::run(words);
    EXPECT_EQ(outcome.status, 2);
    EXPECT_FALSE(outcome.err.empty());
  }
}

// A GPU that is not to be had, before a model is read or a folder made.
TEST(WrongInput, AskingForAGpuWithoutThePlugin) {
  const test::TempDir dir;
  const fs::path run = dir.path() / "run";
  const auto with = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words = {"env", "PONDER_CUDA_PLUGIN=/nowhere/libponder_cuda.so"};
    for (const std::string& word : test::small_run(run, {})) words.push_back(word);
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  const std::string want = "no GPU support: /nowhere/libponder_cuda.so is not there";
  expect_wrong(with({"training.device=cuda"}), want);
  expect_wrong(with({"--device", "cuda"}), want);
  expect_wrong(with({"--device", "cuda", "--workers", "2"}), want);
  expect_wrong(with({"--device", "cuda", "--check"}), want);
  expect_wrong(with({"training.device=gpu"}), "training.device");
  EXPECT_FALSE(fs::exists(run));
}

}  // namespace
}  // namespace ponder
