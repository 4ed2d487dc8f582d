#include "recipes/grpo_update.h"

#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "recipes/batch_logprobs.h"
#include "recipes/dump.h"
#include "tests/support/temp_dir.h"

namespace ponder::recipes {
namespace {

using ::testing::HasSubstr;

const char* const kBase = "examples/tiny-v3-base";

GrpoRecipe some_recipe() {
  GrpoRecipe recipe;
  recipe.model_name_or_path = kBase;
  recipe.grpo.max_steps = 10;
  recipe.optimizer.learning_rate = 1e-3;
  return recipe;
}

// Completions of made-up tokens with the policy's own log-probs, and advantages of both signs.
grpo::TrainBatch some_batch(const policy::Model& model, int64_t groups = 3) {
  std::vector<data::ScoredGroup> scored;
  std::vector<std::vector<float>> advantages;
  for (int64_t g = 0; g < groups; ++g) {
    data::Group group;
    group.prompt.token_ids = {3, static_cast<int32_t>(4 + g), 5};
    std::vector<data::Score> scores(4);
    advantages.emplace_back();
    for (int32_t i = 0; i < 4; ++i) {
      data::Completion completion;
      completion.finish_reason = data::FinishReason::kStop;
      for (int32_t t = 0; t < 3 + 2 * i; ++t) completion.token_ids.push_back(10 + (7 * t + i) % 20);
      completion.logprobs.assign(completion.token_ids.size(), 0);
      group.completions.push_back(completion);
      scores[i].value = i;
      advantages.back().push_back(static_cast<float>(i) - 1.4F);
    }
    scored.emplace_back(group, scores);
  }
  grpo::TrainBatch batch = grpo::pack(scored, advantages);
  batch.old_logprobs = batch_logprobs_in_parts(model, batch, 1.0, 8192);
  return batch;
}

// A model in training, and what one step makes of it.
struct World {
  explicit World(const GrpoRecipe& its_recipe)
      : recipe(its_recipe),
        model(policy::Model::load(kBase)),
        optimizer(model.parameters(), recipe.optimizer),
        reference(recipe.grpo, model),
        update(recipe, model, optimizer, reference, alone) {}

  Metrics step(int64_t number, grpo::TrainBatch batch) {
    if (reference) reference.add_logprobs(batch);
    return update.run(number, batch, dumps.path());
  }
  at::Tensor weights() const {
    std::vector<at::Tensor> all;
    for (const policy::Parameter& p : model.parameters())
      all.push_back(p.tensor.detach().flatten());
    return at::cat(all);
  }

  GrpoRecipe recipe;
  policy::Model model;
  policy::AdamW optimizer;
  Reference reference;
  distributed::Group alone = distributed::Group::alone();
  GrpoUpdate update;
  test::TempDir dumps;
};

TEST(GrpoUpdate, MicroBatchesAreMemoryNotResults) {
  for (const double quantile : {1.0, 0.3}) {
    GrpoRecipe recipe = some_recipe();
    recipe.grpo.loss.top_entropy_quantile = quantile;
    recipe.grpo.loss.entropy_coef = 0.1;
    recipe.grpo.loss.beta = 0.05;
    World whole(recipe);
    recipe.grpo.train_tokens_max = 20;
    World parts(recipe);
    const grpo::TrainBatch batch = some_batch(whole.model);
    Metrics one = whole.step(1, batch), many = parts.step(1, batch);
    for (const char* name : {"loss", "grad_norm", "kl", "entropy"})
      EXPECT_NEAR(one.at(name), many.at(name), 1e-5 * (1 + std::abs(one.at(name)))) << name;
    if (quantile < 1) {
      EXPECT_NEAR(one.at("entropy_active"), many.at("entropy_active"), 1e-5);
      EXPECT_GT(one.at("entropy_active"), one.at("entropy"));
    }
  }
}

TEST(GrpoUpdate, MakesPassesTimesMiniBatchesUpdates) {
  GrpoRecipe recipe = some_recipe();
  recipe.grpo.num_iterations = 2;
  recipe.grpo.steps_per_generation = 3;
  World world(recipe);
  const Metrics metrics = world.step(1, some_batch(world.model));
  EXPECT_EQ(world.update.policy_version(), 6);
  EXPECT_EQ(metrics.at("skipped_updates"), 0);
  EXPECT_LT(metrics.at("sampling/sampling_logp_difference/max"), 1e-5);  // of the first update
  EXPECT_GT(metrics.at("clip_ratio/region_mean") + metrics.at("loss") * metrics.at("loss"), 0);
}

TEST(GrpoUpdate, LeavesOutAndDumpsWhatIsNotFinite) {
  World world(some_recipe());
  const grpo::TrainBatch good = some_batch(world.model);
  grpo::TrainBatch bad = good;
  bad.advantages = good.advantages * std::numeric_limits<float>::infinity();
  const at::Tensor before = world.weights();
  const Metrics metrics = world.step(1, bad);
  EXPECT_EQ(metrics.at("skipped_updates"), 1);
  EXPECT_FALSE(metrics.contains("loss"));
  EXPECT_TRUE(at::equal(world.weights(), before));
  EXPECT_EQ(world.update.policy_version(), 0);
  const auto dump = world.dumps.path() / "000001-0";
  for (const char* file : {"recipe.toml", "dump.json", "batch.safetensors", "model/config.json",
                           "model/model.safetensors"})
    EXPECT_TRUE(std::filesystem::exists(dump / file)) << file;
  // A good update ends the row.
  EXPECT_EQ(world.step(2, good).at("skipped_updates"), 0);
  world.step(3, bad);
  world.step(4, bad);
  try {
    world.step(5, bad);
    FAIL() << "expected a RunError";
  } catch (const core::RunError& error) {
    EXPECT_THAT(error.what(), HasSubstr("3 updates in a row"));
    EXPECT_THAT(error.what(), HasSubstr((world.dumps.path() / "000005-4").string()));
  }
}

std::string replayed(const std::filesystem::path& dump, bool& finite) {
  std::FILE* file = std::tmpfile();
  finite = replay_dump(dump, file);
  std::string text(static_cast<size_t>(std::ftell(file)), ' ');
  std::rewind(file);
  EXPECT_EQ(std::fread(text.data(), 1, text.size(), file), text.size());
  std::fclose(file);
  return text;
}

TEST(Dump, ReplayNamesWhatIsNotFinite) {
  World world(some_recipe());
  grpo::TrainBatch bad = some_batch(world.model);
  const int64_t last = bad.num_tokens() - 1;
  bad.old_logprobs = bad.old_logprobs.clone();
  bad.old_logprobs[last] = std::numeric_limits<float>::quiet_NaN();
  world.step(1, bad);
  bool finite = true;
  const std::string text = replayed(world.dumps.path() / "000001-0", finite);
  EXPECT_FALSE(finite);
  EXPECT_THAT(text, HasSubstr("sequence 11 (group 2): 1 of 9 old log-probs are not finite"));
  EXPECT_THAT(text, HasSubstr("not finite here either"));
}

TEST(Dump, ReplayMakesTheSameLoss) {
  GrpoRecipe recipe = some_recipe();
  recipe.grpo.loss.beta = 0.1;
  World world(recipe);
  grpo::TrainBatch batch = some_batch(world.model);
  batch.old_logprobs = batch.old_logprobs - 0.3 * batch.loss_mask;
  batch.ref_logprobs = batch.old_logprobs - 0.2 * batch.loss_mask;
  const auto dump = write_dump(
      world.dumps.path(), recipe, world.model,
      {.step = 1, .update = 0, .normalizer = grpo::normalizer_of(batch), .batch = batch});
  bool finite = false;
  const std::string text = replayed(dump, finite);
  EXPECT_TRUE(finite);
  const double loss = world.update.run(1, batch, world.dumps.path()).at("loss");
  const size_t at = text.find("replayed loss ") + 14;
  EXPECT_NEAR(std::stod(text.substr(at)), loss, 1e-9);
}

TEST(Dump, AnotherFolderIsRefused) {
  const test::TempDir folder;
  EXPECT_THROW(replay_dump(folder.path(), stdout), core::UserError);
}

TEST(Reference, MixesEverySoManyUpdates) {
  for (const double alpha : {0.6, 1.0}) {
    GrpoOptions options;
    options.loss.beta = 0.1;
    options.sync_ref_model = true;
    options.ref_model_sync_steps = 3;
    options.ref_model_mixup_alpha = alpha;
    policy::Model policy = policy::Model::load(kBase);
    Reference reference(options, policy);
    const at::Tensor before = reference.state()[1].second.clone();
    const at::NoGradGuard no_grad;
    at::Tensor weight = policy.parameters()[1].tensor;
    weight.add_(0.5);
    for (const int64_t update : {1, 2}) reference.after_update(policy, update);
    EXPECT_TRUE(at::equal(reference.state()[1].second, before));
    reference.after_update(policy, 3);
    EXPECT_TRUE(at::allclose(reference.state()[1].second,
                             alpha * weight.detach() + (1 - alpha) * before, 1e-6, 1e-7));
  }
}

TEST(Reference, StaysWhereNoRefreshIsAskedForAndIsNotThereWithoutKl) {
  GrpoOptions options;
  policy::Model policy = policy::Model::load(kBase);
  EXPECT_FALSE(Reference(options, policy));
  options.loss.beta = 0.1;
  Reference reference(options, policy);
  EXPECT_TRUE(reference);
  EXPECT_TRUE(reference.state().empty());  // the base model's own: nothing to save
}

TEST(GrpoUpdate, AdaptiveEntropyMovesItsCoefficientAndKeepsIt) {
  GrpoRecipe recipe = some_recipe();
  recipe.grpo.loss.use_adaptive_entropy = true;
  recipe.grpo.loss.entropy_coef = 0.02;
  recipe.grpo.loss.entropy_coef_delta = 0.01;
  recipe.grpo.loss.entropy_target = 100;  // never reached: the coefficient rises
  World world(recipe);
  const grpo::TrainBatch batch = some_batch(world.model);
  const Metrics first = world.step(1, batch);
  EXPECT_NEAR(first.at("entropy_coef"), 0.03, 1e-12);
  EXPECT_FALSE(first.contains("policy_loss"));  // no entropy known yet: no bonus
  const data::Json state = data::Json::parse(world.update.state().dump());
  EXPECT_TRUE(world.step(2, batch).contains("policy_loss"));
  World resumed(recipe);
  resumed.update.restore(state);
  EXPECT_TRUE(resumed.step(2, batch).contains("policy_loss"));
  EXPECT_EQ(resumed.update.policy_version(), 2);
}

}  // namespace
}  // namespace ponder::recipes
