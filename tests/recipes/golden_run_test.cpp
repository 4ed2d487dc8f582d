// Ten steps of the demo's recipe, cut down, against tests/golden/grpo/ten_steps.jsonl: tokens,
// rewards and metrics at full precision. On the kind of CPU that wrote the file they are the same
// bits. On others matrix kernels round differently, and one token that falls to the other side of a
// border parts two runs for good: there the recorded completions are trained, and the metrics must
// be close. A change that moves either is an entry under Numerics in CHANGELOG.md. To renew the
// file on purpose: PONDER_UPDATE_GOLDEN=1 build/tests/recipes/grpo_stage_test
// --gtest_filter='GoldenRun.*'
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "core/recipe.h"
#include "recipes/batch_logprobs.h"
#include "recipes/grpo_rollout.h"
#include "recipes/grpo_update.h"
#include "recipes/trainee.h"
#include "tests/support/temp_dir.h"

namespace ponder::recipes {
namespace {

using data::Json;

const std::string kFile = PONDER_SOURCE_DIR "/tests/golden/grpo/ten_steps.jsonl";
constexpr int64_t kSteps = 10;

// What decides which kernels run and how they round: the processor, its vector instructions, and
// the variables that limit them.
std::string cpu_kind() {
  std::ifstream file("/proc/cpuinfo");
  std::string kind;
  for (std::string line; std::getline(file, line) && !line.empty();) {
    const std::string value = line.substr(std::min(line.size(), line.find(':') + 1));
    for (const char* key : {"vendor_id", "cpu family", "model\t"}) {
      if (line.starts_with(key)) kind += value;
    }
    if (!line.starts_with("flags")) continue;
    std::istringstream flags(value);
    for (std::string flag; flags >> flag;) {
      if (flag.starts_with("avx") || flag.starts_with("amx") || flag == "fma") kind += " " + flag;
    }
  }
  for (const char* name : {"PONDER_KERNELS", "ATEN_CPU_CAPABILITY", "MKL_CBWR",
                           "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA"}) {
    if (const char* value = std::getenv(name)) kind += std::string(" ") + name + "=" + value;
  }
  return kind;
}

GrpoRecipe recipe_of_the_run() {
  GrpoRecipe recipe;
  core::Recipe file = core::Recipe::from_file(PONDER_SOURCE_DIR "/recipes/r1_zero_tiny.toml");
  file.read(recipe);
  recipe.model_name_or_path = PONDER_SOURCE_DIR "/examples/tiny-v3-base";
  recipe.grpo.max_steps = kSteps;
  recipe.grpo.prompts_per_step = 4;
  recipe.grpo.num_generations = 4;
  recipe.grpo.steps_per_generation = 2;
  recipe.grpo.freeze_router = false;
  recipe.grpo.loss.beta = 0.04;
  return recipe;
}

// The stage's own parts, a step at a time.
struct TenSteps {
  GrpoRecipe recipe = recipe_of_the_run();
  distributed::Group alone = distributed::Group::alone();
  TrainedModel loaded = load_trained_model(recipe.model_name_or_path, {}, false, 1);
  Trainee trainee = Trainee(std::move(loaded.model), loaded.trained, recipe.model_name_or_path,
                            recipe.reward, recipe.optimizer, alone);
  PromptSource prompts =
      PromptSource(recipe.dataset, 1, trainee.tokenizer,
                   trainee.model.config().max_position_embeddings, recipe.model_name_or_path);
  Reference reference = Reference(recipe.grpo, trainee.model);
  GrpoRollout rollout =
      GrpoRollout(recipe, prompts, trainee.tokenizer, trainee.engine, trainee.scorer, alone);
  GrpoUpdate update = GrpoUpdate(recipe, trainee.model, trainee.optimizer, reference, alone);
  test::TempDir dumps;

  std::vector<data::ScoredGroup> sample(int64_t step) {
    return rollout.run(step, update.policy_version(), [](const std::string&) {}).groups;
  }

  Metrics train(int64_t step, const std::vector<data::ScoredGroup>& groups, bool sampled) {
    const grpo::Advantages advantages = grpo::compute_advantages(groups, recipe.grpo.advantage);
    grpo::TrainBatch batch = grpo::pack(groups, advantages.values);
    if (!sampled) batch.old_logprobs = batch_logprobs_in_parts(trainee.model, batch, 1.0, 8192);
    reference.add_logprobs(batch);
    Metrics metrics = update.run(step, batch, dumps.path());
    metrics["reward"] = advantages.metrics.at("reward");
    return metrics;
  }
};

const char* const kSeries[] = {"loss",    "grad_norm", "kl",
                               "entropy", "reward",    "clip_ratio/region_mean"};

Json record(int64_t step, const std::vector<data::ScoredGroup>& groups, const Metrics& metrics) {
  Json json = {{"step", step}};
  for (const char* name : kSeries) json[name] = metrics.at(name);
  for (const data::ScoredGroup& group : groups) {
    for (size_t i = 0; i < group.scores.size(); ++i) {
      json["tokens"].push_back(group.group.completions[i].token_ids);
      json["scores"].push_back(group.scores[i].value.value());
    }
  }
  return json;
}

// The file's first line names the CPU, each other is a step's record.
std::vector<Json> golden() {
  std::vector<Json> lines;
  std::ifstream file(kFile);
  for (std::string line; std::getline(file, line);) lines.push_back(Json::parse(line));
  return lines;
}

// `groups` with the record's completions and scores in place of their own.
void replace(std::vector<data::ScoredGroup>& groups, const Json& record) {
  size_t next = 0;
  for (data::ScoredGroup& group : groups) {
    for (size_t i = 0; i < group.scores.size(); ++i, ++next) {
      data::Completion& completion = group.group.completions[i];
      record.at("tokens").at(next).get_to(completion.token_ids);
      completion.logprobs.assign(completion.token_ids.size(), 0);
      group.scores[i].value = record.at("scores").at(next).get<double>();
    }
  }
}

class GoldenRun : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }  // their number changes the last bits
  void TearDown() override { at::set_num_threads(threads_); }

 private:
  int threads_ = at::get_num_threads();
};

TEST_F(GoldenRun, TenStepsAreTheSameBitsOnTheSameKindOfCpu) {
#ifndef __OPTIMIZE__
  GTEST_SKIP() << "without optimisation a product and a sum are rounded one by one";
#endif
  TenSteps run;
  std::vector<Json> lines = {Json::object({{"cpu", cpu_kind()}})};
  for (int64_t step = 1; step <= kSteps; ++step) {
    const auto groups = run.sample(step);
    lines.push_back(record(step, groups, run.train(step, groups, true)));
  }
  if (std::getenv("PONDER_UPDATE_GOLDEN") != nullptr) {
    std::ofstream file(kFile);
    for (const Json& line : lines) file << line.dump() << "\n";
  }
  const std::vector<Json> want = golden();
  ASSERT_EQ(want.size(), lines.size());
  if (want[0] != lines[0]) GTEST_SKIP() << "written on " << want[0] << ", this is " << lines[0];
  for (size_t i = 1; i < lines.size(); ++i) EXPECT_EQ(lines[i], want[i]);
}

TEST_F(GoldenRun, ItsCompletionsTrainedAgainAreCloseOnEveryKind) {
  TenSteps run;
  const std::vector<Json> want = golden();
  ASSERT_EQ(want.size(), kSteps + 1U);
  for (int64_t step = 1; step <= kSteps; ++step) {
    auto groups = run.sample(step);
    replace(groups, want[step]);
    const Metrics got = run.train(step, groups, false);
    for (const char* name : kSeries) {
      const double golden = want[step].at(name).get<double>();
      EXPECT_NEAR(got.at(name), golden, 2e-3 * (0.1 + std::abs(golden)))
          << name << " of step " << step;
    }
  }
}

}  // namespace
}  // namespace ponder::recipes
