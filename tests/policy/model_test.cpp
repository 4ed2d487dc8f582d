#include "policy/model.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/file.h"
#include "policy/ops.h"
#include "policy/safetensors.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace ponder::policy {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

PackedInput packed(const std::vector<std::vector<int64_t>>& sequences) {
  std::vector<int64_t> tokens, positions;
  PackedInput input;
  input.cu_seqlens = {0};
  for (const auto& sequence : sequences) {
    for (size_t i = 0; i < sequence.size(); ++i) {
      tokens.push_back(sequence[i]);
      positions.push_back(static_cast<int64_t>(i));
    }
    input.cu_seqlens.push_back(static_cast<int32_t>(tokens.size()));
  }
  input.token_ids = at::tensor(tokens);
  input.positions = at::tensor(positions);
  return input;
}

TEST(Model, WeightsThatAreNotFiniteAreRefused) {
  const test::TempDir dir;
  core::write_file_atomic(dir.path() / "config.json", test::tiny_config_text());
  const Model model = test::tiny_model();
  for (const at::ScalarType stored : {at::kFloat, at::kBFloat16}) {
    for (const float value : {NAN, INFINITY, -INFINITY}) {
      SCOPED_TRACE(value);
      NamedTensors tensors;
      for (const Parameter& p : model.parameters())
        tensors.emplace_back(p.name, p.tensor.detach().to(stored, false, /*copy=*/true));
      const auto broken = [](const auto& entry) {
        return entry.first == "model.layers.0.mlp.up_proj.weight";
      };
      std::find_if(tensors.begin(), tensors.end(), broken)->second[40][31].fill_(value);
      save_safetensors(dir.path() / "model.safetensors", tensors);
      for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
        try {
          Model::load(dir.path(), dtype);
          ADD_FAILURE() << "no error";
        } catch (const core::UserError& error) {
          EXPECT_THAT(error.what(),
                      HasSubstr("'model.layers.0.mlp.up_proj.weight' holds values that are not "
                                "finite"));
        }
      }
    }
  }
}

TEST(Model, SequencesLaidEndToEndDoNotSeeEachOther) {
  const Model model = test::tiny_model();
  const at::NoGradGuard no_grad;
  const at::Tensor both = model.forward(packed({{3, 4, 5}, {9, 8, 7, 6, 5}}));
  EXPECT_TRUE(at::allclose(both.narrow(0, 0, 3), model.forward(packed({{3, 4, 5}})), 1e-5, 1e-5));
  EXPECT_TRUE(
      at::allclose(both.narrow(0, 3, 5), model.forward(packed({{9, 8, 7, 6, 5}})), 1e-5, 1e-5));
}

TEST(Model, IsCausal) {
  const Model model = test::tiny_model();
  const at::NoGradGuard no_grad;
  const at::Tensor a = model.forward(packed({{3, 4, 5, 6}})),
                   b = model.forward(packed({{3, 4, 5, 40}}));
  EXPECT_TRUE(at::allclose(a.narrow(0, 0, 3), b.narrow(0, 0, 3), 1e-6, 1e-6));
  EXPECT_FALSE(at::allclose(a[3], b[3]));
}

TEST(Model, CachedForwardEqualsFullForward) {
  const Model model = test::tiny_model();
  const at::NoGradGuard no_grad;
  const std::vector<int64_t> tokens = {3, 14, 15, 9, 26, 5, 35};
  const at::Tensor full = model.forward(packed({tokens}));
  KvCache cache = model.make_cache(4, 4);
  const at::Tensor table = at::tensor({3, 1}, at::kInt).view({1, 2});
  const auto pass = [&](int64_t begin, int64_t end) {
    std::vector<int64_t> ids, positions, slots;
    std::vector<int32_t> rows, lengths;
    for (int64_t p = begin; p < end; ++p) {
      ids.push_back(tokens[p]);
      positions.push_back(p);
      slots.push_back((p < 4 ? 12 : 4) + p % 4);
      rows.push_back(0);
      lengths.push_back(static_cast<int32_t>(p) + 1);
    }
    return model.forward_cached(
        {at::tensor(ids),
         at::tensor(positions),
         at::tensor(slots),
         {at::tensor(rows, at::kInt), at::tensor(lengths, at::kInt), table, 4}},
        cache);
  };
  const at::Tensor prompt = pass(0, 3);
  EXPECT_TRUE(at::allclose(prompt, full.narrow(0, 0, 3), 1e-4, 1e-5));
  for (int64_t p = 3; p < 7; ++p)
    EXPECT_TRUE(at::allclose(pass(p, p + 1)[0], full[p], 1e-4, 1e-5)) << "position " << p;
}

TEST(Model, RandomWeightsDependOnSeedAlone) {
  const Model a = test::tiny_model(1), b = test::tiny_model(1), c = test::tiny_model(2);
  for (size_t i = 0; i < a.parameters().size(); ++i) {
    EXPECT_TRUE(at::equal(a.parameters()[i].tensor, b.parameters()[i].tensor))
        << a.parameters()[i].name;
  }
  EXPECT_FALSE(at::equal(a.output_weight(), c.output_weight()));
  const at::Tensor w = a.output_weight().detach();
  EXPECT_NEAR(w.std().item<double>(), 1 / std::sqrt(32.0), 0.02);
}

// The choice written out in loops, from V3's description: sigmoid affinities, the bias only
// chooses, the two best of each group rank the groups.
TEST(Route, EqualsThePlainAlgorithm) {
  const at::NoGradGuard no_grad;
  at::manual_seed(5);
  MoeLayer layer{.config = {.n_routed_experts = 8,
                            .num_experts_per_tok = 3,
                            .n_group = 4,
                            .topk_group = 2,
                            .norm_topk_prob = true,
                            .routed_scaling_factor = 2.5}};
  layer.gate = at::randn({8, 6});
  layer.correction_bias = at::randn({8}) * 0.3;
  const at::Tensor x = at::randn({40, 6});
  const Routing routing = route(layer, x);
  const at::Tensor affinity = at::sigmoid(at::linear(x, layer.gate));
  for (int64_t t = 0; t < 40; ++t) {
    std::vector<std::pair<float, int64_t>> groups;
    std::vector<float> choice(8);
    for (int64_t e = 0; e < 8; ++e)
      choice[e] = affinity[t][e].item<float>() + layer.correction_bias[e].item<float>();
    for (int64_t g = 0; g < 4; ++g) groups.emplace_back(choice[2 * g] + choice[2 * g + 1], g);
    std::sort(groups.rbegin(), groups.rend());
    std::vector<std::pair<float, int64_t>> open;
    for (int i = 0; i < 2; ++i) {
      for (const int64_t e : {2 * groups[i].second, 2 * groups[i].second + 1})
        open.emplace_back(choice[e], e);
    }
    std::sort(open.rbegin(), open.rend());
    float total = 0;
    for (int i = 0; i < 3; ++i) total += affinity[t][open[i].second].item<float>();
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(routing.experts[t][i].item<int64_t>(), open[i].second);
      EXPECT_NEAR(routing.weights[t][i].item<float>(),
                  2.5f * affinity[t][open[i].second].item<float>() / total, 1e-5);
    }
  }
}

MoeLayer made_up_mixture() {
  at::manual_seed(6);
  MoeLayer layer{.config = {.n_routed_experts = 8,
                            .num_experts_per_tok = 3,
                            .n_group = 4,
                            .topk_group = 2,
                            .norm_topk_prob = true,
                            .routed_scaling_factor = 2.5}};
  layer.gate = at::randn({8, 6}).requires_grad_();
  layer.correction_bias = at::randn({8}) * 0.3;
  return layer;
}

TEST(Replay, AnEqualChoiceIsTheSameBitsWhateverItsOrder) {
  const MoeLayer layer = made_up_mixture();
  const at::Tensor x = at::randn({40, 6});
  const Routing own = route(layer, x);
  const Routing replayed = route(layer, x, own.experts.flip(1).to(at::kShort));
  EXPECT_TRUE(at::equal(replayed.experts, own.experts));
  EXPECT_TRUE(at::equal(replayed.weights, own.weights));
}

TEST(Replay, SendsTokensToTheRecordedExpertsByTheGatesOwnWeights) {
  MoeLayer layer = made_up_mixture();
  const at::Tensor x = at::randn({40, 6});
  const at::Tensor recorded = route(layer, x).experts;
  // Another router, and the last token without a record.
  layer.gate = at::randn({8, 6}).requires_grad_();
  const at::Tensor own = route(layer, x).experts;
  ASSERT_FALSE(at::equal(std::get<0>(own.sort(1)), std::get<0>(recorded.sort(1))));
  const at::Tensor given = recorded.to(at::kShort);
  given[39].fill_(-1);
  const Routing routing = route(layer, x, given);
  EXPECT_TRUE(at::equal(std::get<0>(routing.experts.narrow(0, 0, 39).sort(1)),
                        std::get<0>(recorded.narrow(0, 0, 39).sort(1))));
  EXPECT_TRUE(at::equal(routing.experts[39], own[39]));
  const at::Tensor scores = at::sigmoid(at::linear(x, layer.gate)).gather(1, routing.experts);
  EXPECT_TRUE(at::allclose(routing.weights, 2.5 * scores / scores.sum(1, true)));
  (routing.weights * at::randn({40, 3})).sum().backward();
  EXPECT_GT(layer.gate.grad().abs().sum().item<double>(), 0);
}

TEST(Replay, ReachesEveryMixtureOfAModelAndItsCheckpointedLayers) {
  Model model = test::tiny_model();
  ASSERT_EQ(model.routing_width(), 2);  // one mixture, two experts a token
  const at::Tensor experts = at::tensor({3, 0, 3, 7, 0, 7, 3, 0, -1, -1}, at::kShort).view({5, 2});
  PackedInput input = packed({{3, 4, 5}, {6, 7}});
  input.experts = experts;
  at::Tensor before;
  for (const bool checkpointing : {false, true}) {
    model.set_gradient_checkpointing(checkpointing);
    const at::Tensor loads = at::zeros({1, 8}, at::kLong);
    MoeRecord record{.loads = loads};
    const at::Tensor hidden = model.forward(input, &record);
    EXPECT_GE(loads[0][3].item<int64_t>(), 3);
    EXPECT_GE(loads[0][0].item<int64_t>(), 3);
    EXPECT_GE(loads[0][7].item<int64_t>(), 2);
    EXPECT_EQ(loads.sum().item<int64_t>(), 10);
    EXPECT_FALSE(at::equal(hidden, model.forward(packed({{3, 4, 5}, {6, 7}}))));
    for (const Parameter& p : model.parameters()) p.tensor.mutable_grad().reset();
    hidden.square().sum().backward();
    const at::Tensor gradient = model.embedding().grad().clone();
    if (checkpointing) {
      EXPECT_TRUE(at::equal(gradient, before));
    }
    before = gradient;
  }
}

TEST(BalanceBias, RisesForTheIdleAndFallsForTheBusy) {
  MoeLayer layer{.config = {.n_routed_experts = 4}};
  layer.correction_bias = at::zeros({4});
  update_balance_bias_(layer, at::tensor({10, 0, 5, 5}, at::kLong), 0.001);
  EXPECT_TRUE(
      at::allclose(layer.correction_bias, at::tensor({-0.001, 0.001, 0.0, 0.0}, at::kFloat)));
}

TEST(Model, LoadsCountEveryTokensExperts) {
  const Model model = test::tiny_model();
  const at::Tensor loads = at::zeros({1, 8}, at::kLong);
  MoeRecord record{.loads = loads};
  model.forward(packed({{3, 4, 5}, {6, 7}}), &record);
  EXPECT_EQ(loads.sum().item<int64_t>(), 5 * 2);
}

// Nothing is allocated for what config.json merely claims.
TEST(Model, LoadRefusesAConfigThatDoesNotFitTheWeights) {
  const test::TempDir dir;
  std::vector<std::pair<std::string, at::Tensor>> weights;
  const Model model = test::tiny_model();
  for (const Parameter& p : model.parameters()) weights.emplace_back(p.name, p.tensor.detach());
  save_safetensors(dir.path() / "model.safetensors", weights);
  const struct {
    const char* changes;
    const char* want;
  } cases[] = {
      {R"(, "num_hidden_layers": 1)", "unexpected tensor 'model.layers.1."},
      {R"(, "num_hidden_layers": 3)", "there is no tensor 'model.layers.2."},
      {R"(, "num_nextn_predict_layers": 1, "num_hidden_layers": 1)",
       "unexpected tensor 'model.layers.1."},
      {R"(, "tie_word_embeddings": true, "num_hidden_layers": 1)", "unexpected tensor"},
      {R"(, "vocab_size": 1000000000, "hidden_size": 1000000000)",
       "expected shape [1000000000, 1000000000] from config.json, found [50, 32]"},
  };
  for (const auto& c : cases) {
    core::write_file_atomic(dir.path() / "config.json", test::tiny_config_text(c.changes));
    try {
      Model::load(dir.path());
      ADD_FAILURE() << c.changes;
    } catch (const core::UserError& e) {
      EXPECT_THAT(e.what(), HasSubstr(c.want));
    }
  }
}

// transformers 5 would take the tensor, others the embedding.
TEST(Model, LoadRefusesATiedHeadThatDiffers) {
  const test::TempDir dir;
  core::write_file_atomic(dir.path() / "config.json",
                          test::tiny_config_text(R"(, "tie_word_embeddings": true)"));
  NamedTensors weights;
  at::Tensor embedding;
  const Model model = test::tiny_model();
  for (const Parameter& p : model.parameters()) {
    if (p.name == "model.embed_tokens.weight") embedding = p.tensor.detach();
    if (p.name != "lm_head.weight") weights.emplace_back(p.name, p.tensor.detach());
  }
  const auto load = [&](const at::Tensor& head, at::ScalarType dtype) {
    NamedTensors all = weights;
    all.emplace_back("lm_head.weight", head);
    save_safetensors(dir.path() / "model.safetensors", all);
    Model::load(dir.path(), dtype);
  };
  at::Tensor other = embedding.clone();
  other[49][31].add_(1);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    EXPECT_NO_THROW(load(embedding.clone(), dtype));
    EXPECT_THAT([&] { load(other, dtype); },
                ThrowsMessage<core::UserError>(HasSubstr("tie_word_embeddings")));
    EXPECT_THAT([&] { load(other.narrow(0, 0, 49), dtype); },
                ThrowsMessage<core::UserError>(HasSubstr("'lm_head.weight': expected shape")));
  }
}

TEST(ParseConfig, ErrorsNameFileAndKey) {
  const struct {
    const char* changes;
    const char* want;
  } cases[] = {
      {R"(, "model_type": "deepseek_v9")",
       "unknown architecture 'deepseek_v9', did you mean 'deepseek_v3'?"},
      {R"(, "vocab_size": "many")", "c.json: vocab_size: expected an integer, found \"many\""},
      {R"(, "hidden_size": 0)", "hidden_size: expected at least 1, found 0"},
      {R"(, "hidden_size": 99999999999)", "hidden_size: expected at most 2^30"},
      {R"(, "n_group": 3)", "n_routed_experts 8 is no multiple of n_group 3"},
      {R"(, "num_experts_per_tok": 5)",
       "num_experts_per_tok 5 is above the 4 experts of the chosen groups"},
      {R"(, "rope_scaling": {"type": "yarn"})", "the key factor is missing"},
      {R"(, "hidden_act": "gelu")", "hidden_act: expected 'silu', found 'gelu'"},
      {R"(, "qk_rope_head_dim": 7)", "qk_rope_head_dim: expected an even number, found 7"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.changes);
    try {
      parse_config(test::tiny_config_text(c.changes), "c.json");
      ADD_FAILURE() << "no error";
    } catch (const core::UserError& error) {
      EXPECT_THAT(error.what(), HasSubstr(c.want));
    }
  }
  EXPECT_THROW(parse_config("{", "c.json"), core::UserError);
  EXPECT_THROW(parse_config("[]", "c.json"), core::UserError);
  EXPECT_THROW(parse_config("{}", "c.json"), core::UserError);
}

TEST(ParseConfig, ReadsRopeParametersOfTransformers5) {
  EXPECT_EQ(parse_config(test::tiny_config_text(
                             R"(, "rope_parameters": {"rope_type": "default", "rope_theta": 500})"),
                         "c")
                .rope.theta,
            500);
}

}  // namespace
}  // namespace ponder::policy
