#include "policy/lora.h"

#include <functional>
#include <map>
#include <set>

#include <ATen/ATen.h>
#include <fmt/ranges.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "policy/hf_folder.h"
#include "policy/mtp_training.h"
#include "policy/optimizer.h"
#include "policy/peft_folder.h"
#include "policy/safetensors.h"
#include "tests/fuzz/mutate.h"
#include "tests/policy/oracle_models.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace ponder::policy {
namespace {

PackedInput some_input() {
  return {.token_ids = at::tensor({3, 4, 5, 9, 8, 7, 12, 17, 2, 30, 11}, at::kLong),
          .positions = at::tensor({0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4}, at::kLong),
          .cu_seqlens = {0, 6, 11}};
}

ModelConfig tiny_mtp_config() {
  return parse_config(test::tiny_config_text(R"(, "num_nextn_predict_layers": 1)"), "config.json");
}

Model tiny_mtp_model() {
  return Model::random(tiny_mtp_config(), 1);
}

using Loss = std::function<at::Tensor(const Model&)>;

// The states in a fixed direction: the sum of their squares would hardly change, they are normed.
at::Tensor directed(const at::Tensor& states) {
  return (states * at::arange(states.numel(), at::kFloat).view(states.sizes()).sin()).sum();
}

at::Tensor some_loss(const Model& model) {
  return directed(model.forward(some_input()));
}

// Trains the adapters a little, so that b is not zero.
void train(Model& model, const std::vector<Parameter>& trained, const Loss& loss = some_loss) {
  AdamW optimizer(trained, {});
  for (int i = 0; i < 3; ++i) {
    loss(model).backward();
    ASSERT_TRUE(optimizer.step(0.01).applied);
  }
  refresh_lora(model);
}

// The greatest difference as a share of the greatest value.
double relative_error(const at::Tensor& got, const at::Tensor& want) {
  return ((got - want).abs().max() / want.abs().max().clamp_min(1e-20)).item<double>();
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const core::UserError& error) {
    return error.what();
  }
  return "no error";
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
}

TEST(Lora, AllLinearMeansEveryLinearOfEveryLayer) {
  Model model = tiny_mtp_model();
  std::set<std::string> linears, trained;
  model.for_each_linear([&](const Linear& linear) { linears.insert(linear.name); });
  for (const Parameter& p : add_lora(model, {.lora_r = 2}, 1))
    trained.insert(p.name.substr(0, p.name.find(".lora_")));
  EXPECT_EQ(trained, linears);
  EXPECT_TRUE(trained.contains("model.layers.1.mlp.experts.7.gate_proj"));
  EXPECT_TRUE(trained.contains("model.layers.2.mlp.experts.0.down_proj"));
  EXPECT_TRUE(trained.contains("model.layers.2.eh_proj"));
}

TEST(Lora, AnLmHeadOfItsOwnIsMeantByName) {
  Model model = tiny_mtp_model();
  const auto trained = add_lora(model, {.lora_r = 2, .lora_target_modules = {"lm_head"}}, 1);
  ASSERT_EQ(trained.size(), 2U);
  EXPECT_EQ(trained[0].name, "lm_head.lora_A.weight");
  train(model, trained, [&](const Model& of) {
    return token_logprobs(of.forward(some_input()).detach(), of.output_weight(),
                          some_input().token_ids, 1.0)
        .logprobs.sum();
  });
  EXPECT_GT(trained[1].tensor.abs().max().item<double>(), 0);
  const at::Tensor sum = model.output_weight().detach();
  EXPECT_TRUE(at::allclose(sum, model.lm_head().matrix(), 1e-6, 1e-7));
  EXPECT_FALSE(at::equal(sum, model.lm_head().weight));
  EXPECT_TRUE(at::equal(model.shared_parameters()[1].tensor, model.lm_head().matrix()));
}

// A frozen matrix with a trained one beside it is a matrix W + s B A: by the chain rule A's
// gradient is s B' G and B's is s G A', where G is that of the merged matrix as autograd finds it.
TEST(Lora, GradientsAreThoseOfTheMergedMatrix) {
  Model model = tiny_mtp_model();
  const PackedInput input = some_input();
  const auto loss = [&](const Model& of) {
    const at::Tensor hidden = of.forward(input);
    at::Tensor sum = directed(hidden);
    for (const MtpStates& states : mtp_states(of, input, hidden))
      sum = sum + directed(states.states);
    return sum;
  };
  const auto trained = add_lora(model, {.lora_r = 4, .lora_alpha = 6}, 1);
  train(model, trained, loss);
  const Model merged = model.frozen_copy();
  for (const Parameter& p : merged.parameters()) at::Tensor(p.tensor).requires_grad_(p.trainable);
  loss(model).backward();
  loss(merged).backward();
  std::map<std::string, at::Tensor> whole;
  for (const Parameter& p : merged.parameters()) whole[p.name] = p.tensor.grad();
  int64_t experts = 0;
  for (const auto& adapter : model.adapters()) {
    SCOPED_TRACE(adapter->name);
    const at::Tensor g = whole.at(adapter->name + ".weight");
    ASSERT_EQ(g.defined(), adapter->b.grad().defined());
    if (!g.defined()) continue;  // an expert that got no token
    experts += adapter->name.find(".experts.") != std::string::npos ? 1 : 0;
    const at::NoGradGuard no_grad;
    EXPECT_LE(relative_error(adapter->a.grad(), at::mm(adapter->b.t(), g) * adapter->scaling),
              1e-3);
    EXPECT_LE(relative_error(adapter->b.grad(), at::mm(g, adapter->a.t()) * adapter->scaling),
              1e-3);
  }
  EXPECT_GT(experts, 10);
}

// A checkpointed layer's first pass has gradients off; it must not take the merged matrices, which
// in bfloat16 are rounded.
TEST(Lora, CheckpointingGivesTheSameBits) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    SCOPED_TRACE(at::toString(dtype));
    std::vector<at::Tensor> grads[2];
    at::Tensor hidden[2];
    for (const bool checkpointing : {false, true}) {
      Model model = Model::random(tiny_mtp_config(), 1, dtype);
      model.set_gradient_checkpointing(checkpointing);
      const auto trained = add_lora(model, {.lora_r = 4}, 1);
      train(model, trained);
      hidden[checkpointing] = model.forward(some_input());
      directed(hidden[checkpointing]).backward();
      for (const Parameter& p : trained) grads[checkpointing].push_back(p.tensor.grad());
    }
    EXPECT_TRUE(at::equal(hidden[0], hidden[1]));
    for (size_t i = 0; i < grads[0].size(); ++i) {
      ASSERT_EQ(grads[0][i].defined(), grads[1][i].defined());
      EXPECT_TRUE(!grads[0][i].defined() || at::equal(grads[0][i], grads[1][i]));
    }
  }
}

// The frozen product runs in the linear's precision; what is trained beside it does not.
TEST(Lora, StandsBesideAnFp8Product) {
  Model plain = test::tiny_model(), model = test::tiny_model();
  for (Model* each : {&plain, &model})
    each->for_each_linear([](Linear& linear) { linear.precision = LinearPrecision::kFp8; });
  const auto trained = add_lora(model, {.lora_r = 4}, 1);
  EXPECT_TRUE(at::equal(model.forward(some_input()), plain.forward(some_input())));
  train(model, trained);
  EXPECT_FALSE(at::equal(model.forward(some_input()), plain.forward(some_input())));
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

TEST(Lora, TargetsAreNamesOfLinearsOrTheirEnds) {
  const auto names = [](const std::vector<std::string>& targets) {
    Model model = test::tiny_model();
    std::vector<std::string> out;
    for (const Parameter& p : add_lora(model, {.lora_r = 2, .lora_target_modules = targets}, 1))
      out.push_back(fmt::format("{}[{}]", p.name, fmt::join(p.tensor.sizes(), ", ")));
    return out;
  };
  const std::string layer = "model.layers.";
  EXPECT_EQ(names({"o_proj"}),
            (std::vector<std::string>{layer + "0.self_attn.o_proj.lora_A.weight[2, 24]",
                                      layer + "0.self_attn.o_proj.lora_B.weight[32, 2]",
                                      layer + "1.self_attn.o_proj.lora_A.weight[2, 24]",
                                      layer + "1.self_attn.o_proj.lora_B.weight[32, 2]"}));
  EXPECT_EQ(names({"experts.3.up_proj", "model.layers.0.mlp.down_proj"}),
            (std::vector<std::string>{layer + "0.mlp.down_proj.lora_A.weight[2, 48]",
                                      layer + "0.mlp.down_proj.lora_B.weight[32, 2]",
                                      layer + "1.mlp.experts.3.up_proj.lora_A.weight[2, 32]",
                                      layer + "1.mlp.experts.3.up_proj.lora_B.weight[16, 2]"}));
}

TEST(Lora, ATargetThatNamesNothingIsAnError) {
  const auto error = [](const std::vector<std::string>& targets) {
    Model model = test::tiny_model();
    return error_of([&] { add_lora(model, {.lora_target_modules = targets}, 1); });
  };
  EXPECT_THAT(error({"q_a_proj", "o_prj"}),
              ::testing::HasSubstr("the model has no linear 'o_prj', did you mean "
                                   "'o_proj'?"));
  EXPECT_THAT(error({"model.layers.1.mlp.experts.3.upproj"}),
              ::testing::HasSubstr("did you mean 'model.layers.1.mlp.experts.3.up_proj'?"));
  EXPECT_THAT(error({"embed_tokens"}),
              ::testing::HasSubstr("known: all-linear, down_proj, gate_proj"));
  EXPECT_THAT(error({"proj"}), ::testing::HasSubstr("the model has no linear 'proj'"));
  EXPECT_THAT(error({}), ::testing::HasSubstr("expected a name, or all-linear"));
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

// A mixture of which one linear alone is trained is written whole: PEFT stacks whole mixtures.
TEST(Lora, WritesWholeMixtures) {
  Model model = test::tiny_model();
  train(model, add_lora(model, {.lora_r = 2, .lora_target_modules = {"experts.3.up_proj"}}, 1));
  const test::TempDir dir;
  save_lora(model, "some/base", dir.path());
  EXPECT_EQ(SafetensorsFile(dir.path() / "adapter_model.safetensors").names().size(), 2 * 8 * 3u);
  Model other = test::tiny_model();
  load_lora(other, dir.path());
  const at::NoGradGuard no_grad;
  EXPECT_TRUE(at::equal(other.forward(some_input()), model.forward(some_input())));
}

TEST(Lora, ReadsWhatItWrites) {
  Model model = tiny_mtp_model(), other = tiny_mtp_model();
  train(model, add_lora(model, {.lora_r = 4, .lora_alpha = 6}, 1));
  const test::TempDir dir;
  save_lora(model, "some/base", dir.path());
  EXPECT_EQ(load_lora(other, dir.path()).size(), 2 * model.adapters().size());
  ASSERT_EQ(other.adapters().size(), model.adapters().size());
  for (size_t i = 0; i < model.adapters().size(); ++i) {
    const Adapter &want = *model.adapters()[i], &got = *other.adapters()[i];
    EXPECT_EQ(got.name, want.name);
    EXPECT_DOUBLE_EQ(got.scaling, want.scaling);
    EXPECT_TRUE(at::equal(got.a, want.a) && at::equal(got.b, want.b));
    EXPECT_TRUE(at::equal(got.merged, want.merged));
  }
}

TEST(Lora, RefusesAdaptersThatDoNotFit) {
  const std::string q = "base_model.model.model.layers.0.self_attn.o_proj.lora_";
  const at::Tensor a = at::ones({2, 24}), b = at::ones({32, 2});
  const auto error = [&](const NamedTensors& tensors, const std::string& more = "") {
    const test::TempDir dir;
    save_safetensors(dir.path() / "adapter_model.safetensors", tensors);
    core::write_file_atomic(dir.path() / "adapter_config.json",
                            R"({"peft_type": "LORA", "r": 2, "lora_alpha": 4)" + more + "}");
    Model model = test::tiny_model();
    return error_of([&] { load_lora(model, dir.path()); });
  };
  const NamedTensors good = {{q + "A.weight", a}, {q + "B.weight", b}};
  EXPECT_EQ(error(good), "no error");
  struct Case {
    NamedTensors tensors;
    std::string more, message;
  };
  const Case cases[] = {
      {{{q + "A.weight", a}}, "", "lacks its partner"},
      {{{q + "B.weight", b}}, "", "lacks its partner"},
      {{{q + "A.weight", a}, {q + "B.weight", at::ones({31, 2})}},
       "",
       "expected [r, 24] and [32, r]"},
      {{{q + "A.weight", a}, {q + "B.weight", at::ones({32, 3})}},
       "",
       "expected [r, 24] and [32, r]"},
      {{{q + "A.weight", a / 0}, {q + "B.weight", b}}, "", "not finite"},
      {{{q + "A.weight", at::ones({24})}, {q + "B.weight", b}}, "", "is no matrix"},
      {{{"base_model.model.model.embed_tokens.lora_A.weight", at::ones({2, 32})},
        {"base_model.model.model.embed_tokens.lora_B.weight", at::ones({50, 2})}},
       "",
       "which is none of the model's linears"},
      {{{"base_model.model.model.layers.9.q.lora_A.weight", a},
        {"base_model.model.model.layers.9.q.lora_B.weight", b}},
       "",
       "changes a matrix that the model does not have"},
      {{{"something.else", a}}, "", "belongs to no low-rank difference"},
      {{{"base_model.model.lm_head.base_layer.weight", at::ones({40, 24})}},
       "",
       "has not the shape of the base model's weight"},
      {{{"base_model.model.model.layers.1.mlp.experts.lora_A.weight", at::ones({9, 32})},
        {"base_model.model.model.layers.1.mlp.experts.lora_B.weight", at::ones({32, 9})}},
       "",
       "fit no stack of 8 experts"},
      {good, R"(, "use_dora": true)", "use_dora: expected false"},
      {good, R"(, "modules_to_save": ["lm_head"])", "modules_to_save: expected null"},
      {good, R"(, "bias": "all")", "bias: expected \"none\", found \"all\""},
      {good, R"(, "peft_type": "IA3")", "peft_type: expected \"LORA\", found \"IA3\""},
      {good, R"(, "rank_pattern": {"(": 3})", "'(' is no regular expression"},
      {good, R"(, "r": "two")", "r: expected a number, found \"two\""},
      {good, ", 1", "broken JSON"},
      {good, R"(, "alpha_pattern": )" + fuzz::nested_lists(100'000), "nested deeper than 200"},
  };
  for (const Case& each : cases)
    EXPECT_THAT(error(each.tensors, each.more), ::testing::HasSubstr(each.message));
}

TEST(Lora, ScalesAsTheConfigSays) {
  const std::string q = "base_model.model.model.layers.0.self_attn.o_proj.lora_";
  const auto scaling = [&](const std::string& more) {
    const test::TempDir dir;
    save_safetensors(dir.path() / "adapter_model.safetensors",
                     {{q + "A.weight", at::ones({4, 24})}, {q + "B.weight", at::ones({32, 4})}});
    core::write_file_atomic(dir.path() / "adapter_config.json",
                            R"({"peft_type": "LORA", "r": 4, "lora_alpha": 6)" + more + "}");
    return read_lora(test::tiny_model(), dir.path()).begin()->second.scaling;
  };
  EXPECT_DOUBLE_EQ(scaling(""), 1.5);
  EXPECT_DOUBLE_EQ(scaling(R"(, "use_rslora": true)"), 3);
  EXPECT_DOUBLE_EQ(scaling(R"(, "alpha_pattern": {"o_proj": 8})"), 2);
  EXPECT_DOUBLE_EQ(scaling(R"(, "alpha_pattern": {"layers\\.\\d.self_attn.o_proj": 8})"), 2);
  EXPECT_DOUBLE_EQ(scaling(R"(, "alpha_pattern": {"_proj": 8})"), 1.5);  // no whole last part
  EXPECT_DOUBLE_EQ(scaling(R"(, "rank_pattern": {"o_proj": 8})"), 0.75);
}

class LoraOracle : public test::OracleModels {
 protected:
  // Trains adapters beside `base`, writes adapter, merged folder and what is computed with them.
  static void make(const std::filesystem::path& base, const std::vector<std::string>& targets,
                   const std::filesystem::path& copy) {
    Model model = Model::load(base);
    const auto trained =
        add_lora(model, {.lora_r = 4, .lora_alpha = 6, .lora_target_modules = targets}, 1);
    train(model, trained);
    std::filesystem::create_directories(copy / "adapter");
    save_hf_folder(model, at::kFloat, base, copy);
    save_lora(model, base, copy / "adapter");
    const test::Reference reference(base);
    const at::Tensor hidden = model.forward(reference.input);
    const at::Tensor logprobs = reference.logprobs(hidden, model.output_weight());
    logprobs.sum().neg().backward();
    NamedTensors tensors = {{"tokens", reference.file.tensor("tokens")},
                            {"lengths", reference.file.tensor("lengths")},
                            {"logprobs", logprobs.detach()}};
    for (const Parameter& p : trained) {
      if (p.tensor.grad().defined()) tensors.emplace_back("grad." + p.name, p.tensor.grad());
    }
    save_safetensors(copy / "reference.safetensors", tensors);
  }
};

// What we export, peft loads onto the base model, with log-probabilities and gradients as ours; the
// merged folder, loaded by transformers, computes the same; and what peft saves then, its experts'
// adapters stacked, we read.
TEST_F(LoraOracle, PeftAndTransformersComputeTheSame) {
  const test::TempDir out;
  std::vector<std::string> peft = {test::oracle_python(), "tests/policy/oracle/check_lora.py"},
                           merged = {test::oracle_python(), "tests/policy/oracle/check_saved.py"};
  const std::vector<std::string> all = {"all-linear"};
  const std::pair<std::string, std::vector<std::string>> cases[] = {
      {"llama", all},
      {"qwen2", {"v_proj", "lm_head"}},
      {"qwen3", all},
      {"v2", all},
      {"v3", all},
      {"v3-mtp", all},
      {"v3-all-moe", {"experts.2.gate_proj", "experts.5.gate_proj", "q_a_proj"}},
      {"v2-lite", {"model.layers.2.mlp.experts.0.down_proj", "lm_head"}}};
  for (const auto& [name, targets] : cases) {
    SCOPED_TRACE(name);
    const std::filesystem::path base = root() + "/" + name, copy = out.path() / name;
    make(base, targets, copy);
    for (const std::filesystem::path& word :
         {base, copy / "adapter", copy / "reference.safetensors"})
      peft.push_back(word);
    merged.push_back(copy);
    merged.push_back(copy / "reference.safetensors");
  }
  for (const auto& words : {peft, merged}) {
    const test::Outcome outcome = test::run(words);
    ASSERT_EQ(outcome.status, 0) << outcome.out << outcome.err;
  }
  for (const auto& [name, targets] : cases) {
    SCOPED_TRACE(name);
    const std::filesystem::path base = root() + "/" + name, copy = out.path() / name;
    Model model = Model::load(base);
    load_lora(model, copy / "adapter" / "saved-by-peft");
    const at::NoGradGuard no_grad;
    const test::Reference reference(base);
    const at::Tensor got =
        reference.logprobs(model.forward(reference.input), model.output_weight());
    const at::Tensor want = SafetensorsFile(copy / "reference.safetensors").tensor("logprobs");
    EXPECT_LE((got - want).abs().max().item<double>(), 1e-4);
  }
}

}  // namespace
}  // namespace ponder::policy
