#include "recipes/grpo_update.h"

#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "grpo/policy_input.h"
#include "policy/hf_folder.h"
#include "recipes/batch_logprobs.h"
#include "recipes/dump.h"
#include "recipes/trainee.h"
#include "recipes/trainer_state.h"
#include "rollout/engine.h"
#include "tests/support/far_device.h"
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
  explicit World(const GrpoRecipe& its_recipe, at::Device device = at::kCPU)
      : recipe(its_recipe),
        model(policy::Model::load(kBase, at::kFloat, device)),
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

// tests/support/far_device.h: what a GPU's memory would not allow fails here.
TEST(GrpoUpdate, IsTheSameOnADevice) {
  GrpoRecipe recipe = some_recipe();
  recipe.grpo.loss.beta = 0.05;
  recipe.grpo.loss.entropy_coef = 0.1;
  recipe.grpo.loss.top_entropy_quantile = 0.5;
  recipe.grpo.sync_ref_model = true;
  recipe.grpo.ref_model_sync_steps = 1;
  recipe.grpo.train_tokens_max = 40;
  recipe.grpo.aux_loss.sequence = 0.01;
  World near(recipe), far(recipe, test::kFar);
  const grpo::TrainBatch batch = some_batch(near.model), own = some_batch(far.model);
  EXPECT_TRUE(own.old_logprobs.is_cpu());
  EXPECT_TRUE(at::allclose(batch.old_logprobs, own.old_logprobs, 0, 1e-4));
  for (int64_t step = 1; step <= 2; ++step) {
    Metrics want = near.step(step, batch), got = far.step(step, own);
    for (const char* name : {"loss", "grad_norm", "kl", "entropy"})
      EXPECT_NEAR(want.at(name), got.at(name), 1e-3 * (1 + std::abs(want.at(name)))) << name;
  }
  // A checkpoint from the device: a folder that the CPU loads, and a state that goes on there.
  test::TempDir dir;
  policy::save_hf_folder(far.model, at::kFloat, kBase, dir.path());
  const policy::Model saved = policy::Model::load(dir.path());
  const auto trained = trained_tensors(far.model, far.optimizer.state());
  save_trainer_state(dir.path(), trained, {{"step", 2}}, 1);
  World again(recipe, test::kFar);
  const auto restored = trained_tensors(again.model, again.optimizer.state());
  restore_trainer_state(dir.path(), restored, 1, [](const data::Json&) {});
  for (size_t i = 0; i < saved.parameters().size(); ++i) {
    const at::Tensor want = far.model.parameters()[i].tensor.to(at::kCPU);
    EXPECT_TRUE(at::equal(saved.parameters()[i].tensor, want));
    EXPECT_TRUE(at::equal(again.model.parameters()[i].tensor.to(at::kCPU), want));
  }
  for (size_t i = 0; i < trained.size(); ++i)
    EXPECT_TRUE(at::equal(trained[i].second.to(at::kCPU), restored[i].second.to(at::kCPU)));
}

TEST(GrpoUpdate, MakesPassesTimesMiniBatchesUpdates) {
  GrpoRecipe recipe = some_recipe();
  recipe.grpo.num_iterations = 2;
  recipe.grpo.steps_per_generation = 3;
  World world(recipe);
  const Metrics metrics = world.step(1, some_batch(world.model));
  EXPECT_EQ(world.update.policy_version(), 6);
  EXPECT_EQ(metrics.at("skipped_updates"), 0);
  // Of the first update. The demo's base has tokens at which float32 itself is 1e-5 off the truth.
  EXPECT_LT(metrics.at("sampling/sampling_logp_difference/max"), 3e-5);
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

TEST(Dump, ReplayRunsInTheTrainedModelsDtype) {
  GrpoRecipe recipe = some_recipe();
  recipe.training.bf16 = true;
  const policy::Model model = policy::Model::load(kBase, at::kBFloat16);
  const grpo::TrainBatch batch = some_batch(model);
  const test::TempDir dumps;
  const auto dump = write_dump(
      dumps.path(), recipe, model,
      {.step = 1, .update = 0, .normalizer = grpo::normalizer_of(batch), .batch = batch});
  EXPECT_EQ(policy::Model::load(dump / "model", at::kBFloat16).parameters()[1].tensor.dtype(),
            at::kBFloat16);
  bool finite = false;
  const std::string text = replayed(dump, finite);
  EXPECT_TRUE(finite);
  // On-policy, advantages that sum to -0.4 a group over unequal lengths: the loss says which
  // weights ran, for the ratio is 1 in the model's own dtype alone.
  double sum = 0;
  for (int64_t i = 0; i < batch.num_sequences(); ++i)
    sum -= batch.advantages.slice(0, batch.cu_seqlens[i], batch.cu_seqlens[i + 1])
               .sum()
               .item<double>();
  const double want = sum / static_cast<double>(batch.num_loss_tokens);
  EXPECT_NEAR(std::stod(text.substr(text.find("replayed loss ") + 14)), want, 1e-6);
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

// Of the gates, and of everything else, how far training moved them.
std::pair<double, double> moved_by_training(bool freeze_router) {
  GrpoRecipe recipe = some_recipe();
  recipe.grpo.freeze_router = freeze_router;
  TrainedModel loaded = load_trained_model(kBase, recipe.training, freeze_router, 1);
  policy::AdamW optimizer(loaded.trained, recipe.optimizer);
  Reference reference(recipe.grpo, loaded.model);
  distributed::Group alone = distributed::Group::alone();
  GrpoUpdate update(recipe, loaded.model, optimizer, reference, alone);
  const policy::Model before = loaded.model.frozen_copy();
  const test::TempDir dumps;
  update.run(1, some_batch(loaded.model), dumps.path());
  std::pair<double, double> moved;
  for (size_t i = 0; i < before.parameters().size(); ++i) {
    const policy::Parameter& now = loaded.model.parameters()[i];
    const double distance =
        (now.tensor.detach() - before.parameters()[i].tensor).abs().max().item<double>();
    // The bias that chooses among experts is not the optimizer's: nothing in this stage moves it.
    if (now.name.ends_with("e_score_correction_bias")) {
      EXPECT_EQ(distance, 0);
    }
    double& most = now.name.ends_with("mlp.gate.weight") ? moved.first : moved.second;
    most = std::max(most, distance);
  }
  return moved;
}

TEST(FrozenRouter, KeepsItsGatesWhileAllElseTrains) {
  const auto [gates, others] = moved_by_training(true);
  EXPECT_EQ(gates, 0);
  EXPECT_GT(others, 0);
  EXPECT_GT(moved_by_training(false).first, 0);
}

// Groups of four completions sampled by the policy with both records kept.
std::vector<data::ScoredGroup> recorded_groups(const policy::Model& model, double top_p) {
  const policy::Tokenizer tokenizer = policy::Tokenizer::from_folder(kBase);
  rollout::Engine engine(model, tokenizer, {});
  std::vector<data::Prompt> prompts(3);
  for (int32_t i = 0; i < 3; ++i) {
    prompts[i].id = std::to_string(i);
    prompts[i].token_ids = {3, 4 + i, 5, 7};
  }
  std::vector<data::ScoredGroup> out;
  for (data::Group& group : engine.generate(prompts, {.rule = {.top_p = top_p},
                                                     .num_generations = 4,
                                                     .max_completion_length = 12,
                                                     .keep_sampling_mask = true,
                                                     .keep_routing = true})) {
    std::vector<data::Score> scores(4);
    for (size_t i = 0; i < 4; ++i) {
      scores[i].value = static_cast<double>(i);
      group.completions[i].finish_reason = data::FinishReason::kStop;  // all are trained
    }
    out.emplace_back(std::move(group), std::move(scores));
  }
  return out;
}

const std::vector<std::vector<float>> kAdvantages(3, {-1.2F, -0.4F, 0.4F, 1.2F});

TEST(KeptSamplingMask, LogprobsAreThoseTheTokensWereDrawnWith) {
  const policy::Model model = policy::Model::load(kBase);
  auto groups = recorded_groups(model, 0.6);
  groups[1].group.completions[2].finish_reason = data::FinishReason::kLength;
  const grpo::TrainBatch batch =
      grpo::pack(groups, kAdvantages, {.mask_truncated_completions = true});
  EXPECT_LT(batch.num_loss_tokens, batch.kept_counts.gt(0).sum().item<int64_t>());
  // old_logprobs are the sampler's; in micro-batches and alone.
  for (const int64_t tokens_max : {int64_t{20}, int64_t{8192}}) {
    const at::Tensor now = batch_logprobs_in_parts(model, batch, 1.0, tokens_max);
    EXPECT_TRUE(at::allclose(now, batch.old_logprobs * batch.loss_mask, 1e-5, 1e-5));
  }
  grpo::TrainBatch whole = batch;
  whole.kept_ids = whole.kept_counts = at::Tensor();
  EXPECT_LT(
      (batch_logprobs_in_parts(model, whole, 1.0, 8192) - batch.old_logprobs).min().item<double>(),
      -0.1);
}

// Another router: without the record the same tokens go elsewhere.
TEST(KeptRouting, SendsTokensWhereTheSamplerSentThem) {
  policy::Model model = policy::Model::load(kBase);
  const grpo::TrainBatch batch = grpo::pack(recorded_groups(model, 1.0), kAdvantages);
  const int64_t k = model.config().moe.num_experts_per_tok, mixtures = batch.experts.size(1) / k;
  {
    const at::NoGradGuard no_grad;
    for (const policy::Parameter& p : model.parameters()) {
      if (p.name.ends_with("mlp.gate.weight")) at::Tensor(p.tensor).copy_(p.tensor.flip(0));
    }
  }
  const auto loads = [&](const grpo::TrainBatch& of) {
    policy::MoeRecord record{
        .loads = at::zeros({mixtures, model.config().moe.n_routed_experts}, at::kLong)};
    batch_logprobs(model, of, 1.0, &record).logprobs.sum().backward();
    return record.loads;
  };
  // Of the tokens that the policy sees: prompts once, and the last of each completion is free.
  const at::Tensor seen = grpo::policy_input(batch).experts;
  const at::Tensor recorded = seen.index_select(0, seen.select(1, 0).ge(0).nonzero().squeeze(1));
  const at::Tensor replayed = loads(batch);
  for (int64_t m = 0; m < mixtures; ++m) {
    const at::Tensor want =
        at::bincount(recorded.narrow(1, m * k, k).flatten().to(at::kLong), {}, replayed.size(1));
    const at::Tensor free = replayed[m] - want;
    EXPECT_GE(free.min().item<int64_t>(), 0);
    EXPECT_EQ(free.sum().item<int64_t>(), k * 12);  // the completions' last tokens
  }
  for (const policy::Parameter& p : model.parameters()) {
    if (!p.name.ends_with("mlp.gate.weight")) continue;
    EXPECT_GT(p.tensor.grad().abs().sum().item<double>(), 0) << p.name;
  }
  grpo::TrainBatch own = batch;
  own.experts = at::Tensor();
  EXPECT_FALSE(at::equal(loads(own), replayed));
  // The reference is another model: it chooses its own.
  GrpoOptions options;
  options.loss.beta = 0.1;
  grpo::TrainBatch with = batch;
  Reference(options, model).add_logprobs(with);
  EXPECT_TRUE(at::equal(with.ref_logprobs, batch_logprobs_in_parts(model, own, 1.0, 8192)));
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
