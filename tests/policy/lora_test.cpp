#include "policy/lora.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "policy/hf_folder.h"
#include "policy/optimizer.h"
#include "policy/safetensors.h"
#include "tests/policy/oracle_models.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace ponder::policy {
namespace {

PackedInput some_input() {
  return {.token_ids = at::tensor({3, 4, 5, 9, 8, 7}, at::kLong),
          .positions = at::tensor({0, 1, 2, 0, 1, 2}, at::kLong),
          .cu_seqlens = {0, 3, 6}};
}

// Trains the adapters a little, so that b is not zero.
void train(Model& model, const std::vector<Parameter>& trained) {
  AdamW optimizer(trained, {});
  for (int i = 0; i < 3; ++i) {
    model.forward(some_input()).square().sum().backward();
    ASSERT_TRUE(optimizer.step(0.01).applied);
  }
  refresh_lora(model);
}

TEST(Lora, StartsAsTheModelItself) {
  Model model = test::tiny_model();
  const at::Tensor want = model.forward(some_input()).detach();
  add_lora(model, {.lora_r = 4}, 1);
  EXPECT_TRUE(at::equal(model.forward(some_input()).detach(), want));
}

TEST(Lora, TrainsAdaptersAlone) {
  Model model = test::tiny_model();
  std::vector<at::Tensor> before;
  for (const Parameter& p : model.parameters()) before.push_back(p.tensor.clone());
  const auto trained = add_lora(model, {.lora_r = 4}, 1);
  const at::Tensor hidden = model.forward(some_input()).detach();
  train(model, trained);
  EXPECT_FALSE(at::allclose(model.forward(some_input()).detach(), hidden));
  for (size_t i = 0; i < before.size(); ++i)
    EXPECT_TRUE(at::equal(model.parameters()[i].tensor, before[i]));
  for (const Parameter& p : trained) EXPECT_EQ(p.name.find(".experts."), std::string::npos);
}

// The merged weights, with which the model samples and is saved, compute what training computes.
TEST(Lora, MergedEqualsBeside) {
  Model model = test::tiny_model();
  train(model, add_lora(model, {.lora_r = 4, .lora_alpha = 6}, 1));
  const at::Tensor beside = model.forward(some_input()).detach();
  {
    const at::NoGradGuard no_grad;
    EXPECT_TRUE(at::allclose(model.forward(some_input()), beside, 1e-4, 1e-5));
  }
  const Model copy = model.frozen_copy();
  EXPECT_TRUE(copy.adapters().empty());
  EXPECT_TRUE(at::allclose(copy.forward(some_input()), beside, 1e-4, 1e-5));
}

TEST(Lora, TargetsAreNamesOfLinears) {
  Model model = test::tiny_model();
  const auto trained = add_lora(model, {.lora_r = 2, .lora_target_modules = {"o_proj"}}, 1);
  ASSERT_EQ(trained.size(), 4U);  // a and b in two layers
  EXPECT_EQ(trained[0].name, "model.layers.0.self_attn.o_proj.lora_A.weight");
  EXPECT_EQ(trained[0].tensor.sizes(), (std::vector<int64_t>{2, 24}));
  EXPECT_EQ(trained[1].tensor.sizes(), (std::vector<int64_t>{32, 2}));
  Model other = test::tiny_model();
  try {
    add_lora(other, {.lora_target_modules = {"o_prj"}}, 1);
    ADD_FAILURE() << "no error";
  } catch (const core::UserError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("no linear 'o_prj', did you mean 'o_proj'?"));
  }
}

TEST(Lora, SavesAsPeftDoes) {
  Model model = test::tiny_model();
  train(model, add_lora(model, {.lora_r = 4, .lora_alpha = 6}, 1));
  const test::TempDir dir;
  save_lora(model, "some/base", dir.path());
  const auto config =
      nlohmann::json::parse(core::read_file(dir.path() / "adapter_config.json", "config"));
  EXPECT_EQ(config.at("r"), 4);
  EXPECT_EQ(config.at("lora_alpha"), 6);
  EXPECT_EQ(config.at("base_model_name_or_path"), "some/base");
  const SafetensorsFile file(dir.path() / "adapter_model.safetensors");
  EXPECT_EQ(file.names().size(), 2 * model.adapters().size());
  EXPECT_TRUE(
      at::equal(file.tensor("base_model.model." + model.adapters()[0]->name + ".lora_B.weight"),
                model.adapters()[0]->b.detach()));
}

class LoraOracle : public test::OracleModels {};

// What we export, peft loads onto the base model and computes the same; the merged folder, loaded
// by transformers, too.
TEST_F(LoraOracle, PeftAndTransformersComputeTheSame) {
  const test::TempDir out;
  std::vector<std::string> peft = {test::oracle_python(), "tests/policy/oracle/check_lora.py"},
                           merged = {test::oracle_python(), "tests/policy/oracle/check_saved.py"};
  for (const char* name : {"llama", "qwen3", "v2", "v3"}) {
    SCOPED_TRACE(name);
    const std::filesystem::path base = root() + "/" + name, copy = out.path() / name;
    Model model = Model::load(base);
    train(model, add_lora(model, {.lora_r = 4, .lora_alpha = 6}, 1));
    std::filesystem::create_directories(copy / "adapter");
    save_hf_folder(model, at::kFloat, base, copy);
    save_lora(model, base, copy / "adapter");
    const test::Reference reference(base);
    const at::Tensor hidden = model.forward(reference.input).detach();
    save_safetensors(copy / "reference.safetensors",
                     {{"tokens", reference.file.tensor("tokens")},
                      {"lengths", reference.file.tensor("lengths")},
                      {"logprobs", reference.logprobs(hidden, model.output_weight().detach())}});
    for (const std::filesystem::path& word :
         {base, copy / "adapter", copy / "reference.safetensors"})
      peft.push_back(word);
    merged.push_back(copy);
    merged.push_back(copy / "reference.safetensors");
  }
  for (const auto& words : {peft, merged}) {
    const test::Outcome outcome = test::run(words);
    EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
  }
}

}  // namespace
}  // namespace ponder::policy
