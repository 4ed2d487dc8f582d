// TRL's losses, gradients and metrics (tests/cases/grpo), in float64 and float32.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "grpo/entropy.h"
#include "grpo/loss.h"
#include "tests/grpo/cases.h"

namespace ponder::grpo {
namespace {

using data::Json;

// On-policy losses cancel to about 0 out of terms of order 1: below this they are compared
// absolutely.
constexpr double kCancelled = 1e-2;

// One case's tokens [n] out of the padded [B, T] batch.
struct CaseBatch {
  at::Tensor mask_BT;  // bool
  at::Tensor indices;  // int64 [n] into [B * T]
  std::vector<int32_t> offsets;
  int64_t sequences;

  at::Tensor pick(const at::Tensor& values_BT) const {
    return values_BT.reshape({-1}).index_select(0, indices);
  }
};

CaseBatch batch_of(const Json& batch, const Json& config) {
  at::Tensor mask = testing::tensor_of(batch["mask"]) > 0;
  if (config.value("mask_truncated_completions", false)) {
    mask = mask.logical_and(testing::tensor_of(batch["truncated"]).unsqueeze(1) == 0);
  }
  if (config.value("tool_mask", false))
    mask = mask.logical_and(testing::tensor_of(batch["tool_mask"]) > 0);
  CaseBatch out{.mask_BT = mask,
                .indices = mask.reshape({-1}).nonzero().squeeze(1),
                .offsets = {0},
                .sequences = mask.size(0)};
  const at::Tensor lengths = mask.sum(1);
  for (int64_t i = 0; i < out.sequences; ++i) {
    out.offsets.push_back(out.offsets.back() + lengths[i].item<int32_t>());
  }
  return out;
}

LossOptions options_of(const Json& test, int64_t max_completion_length) {
  const Json& config = test["config"];
  LossOptions o;
  o.loss_type = config.value("loss_type", "dapo");
  if (test["trainer"] == "GMPOTrainer") o.loss_type = "gmpo";
  if (test["trainer"] == "RLOOTrainer") o.loss_type = "rloo";
  o.importance_sampling_level =
      importance_level_from(config.value("importance_sampling_level", "token"));
  o.max_completion_length = max_completion_length;
  o.epsilon = config.value("epsilon", o.epsilon);
  const auto optional = [&](const char* key, std::optional<double>& value) {
    if (config.contains(key) && !config[key].is_null()) value = config[key].get<double>();
  };
  optional("epsilon_high", o.epsilon_high);
  optional("delta", o.delta);
  optional("off_policy_mask_threshold", o.off_policy_mask_threshold);
  if (config.contains("vllm_is") && config["vllm_is"].is_string()) {
    o.importance_correction = importance_correction_from(config["vllm_is"]);
  }
  o.beta = config.value("beta", o.beta);
  o.use_bias_correction_kl = config.value("use_bias_correction_kl", o.use_bias_correction_kl);
  o.entropy_coef = config.value("entropy_coef", o.entropy_coef);
  o.top_entropy_quantile = config.value("top_entropy_quantile", o.top_entropy_quantile);
  o.sapo_temperature_pos = config.value("sapo_temperature_pos", o.sapo_temperature_pos);
  o.sapo_temperature_neg = config.value("sapo_temperature_neg", o.sapo_temperature_neg);
  o.vespo_k_pos = config.value("vespo_k_pos", o.vespo_k_pos);
  o.vespo_lambda_pos = config.value("vespo_lambda_pos", o.vespo_lambda_pos);
  o.vespo_k_neg = config.value("vespo_k_neg", o.vespo_k_neg);
  o.vespo_lambda_neg = config.value("vespo_lambda_neg", o.vespo_lambda_neg);
  return o;
}

// The whole update as TRL counts it: this micro-batch is one of grad_accum alike.
Normalizer normalizer_of(const Json& batch, const Json& config, const CaseBatch& tokens) {
  const double accumulated = config.value("grad_accum", 1);
  const double updates = config.value("steps_per_generation", 1) / accumulated;
  Normalizer n{.sequences = static_cast<double>(tokens.sequences) * accumulated,
               .loss_tokens = static_cast<double>(tokens.indices.size(0)) * accumulated,
               .rollout_tokens = config["num_items_in_batch"].get<double>() / updates};
  const double share = config.value("top_entropy_quantile", 1.0);
  if (share < 1 && accumulated > 1) {  // else found by the call itself
    const at::Tensor entropies = tokens.pick(testing::tensor_of(batch["entropies"]));
    n.entropy_threshold = entropy_threshold(entropies, share);
    n.entropy_tokens = count_at_least(entropies, *n.entropy_threshold) * accumulated;
  }
  return n;
}

// What TRL's loss has of completions without a loss token where it takes whole sequences (GMPO,
// RLOO): the ratio of nothing, 1, times the advantage. A constant, which ours leaves out.
double loss_of_empty_sequences(const Json& batch, const Json& test, const CaseBatch& tokens) {
  if (test["trainer"] == "GRPOTrainer") return 0;
  const at::Tensor empty = tokens.mask_BT.sum(1) == 0;
  const double sum = (testing::tensor_of(batch["advantages"]) * empty).sum().item<double>();
  return -sum / static_cast<double>(tokens.sequences) / test["config"].value("grad_accum", 1);
}

// A metric as TRL logs it, which takes "policy_loss" of each micro-batch before it is divided by
// their number; a null there is a number that does not exist.
void expect_metric(const LossResult& result, const std::string& name, const Json& value,
                   double micro_batches) {
  const auto found = result.metrics.find(name);
  if (value.is_null()) {
    EXPECT_TRUE(found == result.metrics.end()) << name;
    return;
  }
  ASSERT_NE(found, result.metrics.end()) << name;
  const double want = value.get<double>();
  const double got = found->second * (name == "policy_loss" ? micro_batches : 1.0);
  EXPECT_NEAR(got, want, 1e-6 * std::max(1.0, std::abs(want))) << name;
}

LossInputs inputs_of(const Json& batch, const Json& config, const CaseBatch& tokens,
                     at::ScalarType type) {
  const auto pick = [&](const at::Tensor& values_BT) { return tokens.pick(values_BT).to(type); };
  const at::Tensor like_BT = testing::tensor_of(batch["logps"]);
  LossInputs in;
  in.logprobs = pick(like_BT);
  in.entropies = pick(testing::tensor_of(batch["entropies"]));
  if (config.value("old", true)) in.old_logprobs = pick(testing::tensor_of(batch["old_logps"]));
  if (config.value("beta", 0.0) != 0)
    in.ref_logprobs = pick(testing::tensor_of(batch["ref_logps"]));
  in.advantages =
      config.value("advantages", "sequence") == "token"
          ? pick(testing::tensor_of(batch["advantages_token"]))
          : pick(testing::tensor_of(batch["advantages"]).unsqueeze(1).expand_as(like_BT));
  if (config.contains("vllm_is") && config["vllm_is"].is_string()) {
    in.sampling_logprobs = pick(testing::tensor_of(batch["sampling_logps"]));
    const bool token = config["vllm_is"].get<std::string>().starts_with("token");
    in.importance_ratios =
        pick(testing::tensor_of(batch[token ? "is_ratio_token" : "is_ratio_sequence"])
                 .expand_as(like_BT));
  }
  in.offsets = tokens.offsets;
  in.normalizer = normalizer_of(batch, config, tokens);
  return in;
}

void expect_gradient(const at::Tensor& gradient, const at::Tensor& want_BT, const CaseBatch& tokens,
                     double tolerance, const char* what) {
  const at::Tensor got_BT = at::zeros({want_BT.numel()}, at::kDouble)
                                .index_copy(0, tokens.indices, gradient.to(at::kDouble));
  EXPECT_LT(testing::relative_error(got_BT.view(want_BT.sizes()), want_BT), tolerance) << what;
}

void expect_case(const Json& file, const Json& test, at::ScalarType type, double tolerance) {
  SCOPED_TRACE(test["name"].get<std::string>() + (type == at::kDouble ? " float64" : " float32"));
  const Json &batch = file["batch"], &config = test["config"];
  const CaseBatch tokens = batch_of(batch, config);
  LossInputs in = inputs_of(batch, config, tokens, type);
  in.logprobs.set_requires_grad(true);
  in.entropies.set_requires_grad(true);
  const LossResult result =
      policy_loss(in, options_of(test, batch["max_completion_length"].get<int64_t>()));
  const double want = test["loss"].get<double>() - loss_of_empty_sequences(batch, test, tokens);
  EXPECT_NEAR(result.loss.item<double>(), want, tolerance * std::max(std::abs(want), kCancelled))
      << "loss";
  result.loss.backward();
  expect_gradient(in.logprobs.grad(), testing::tensor_of(test["grad_logps"]), tokens, tolerance,
                  "gradient of log-probs");
  if (test.contains("grad_entropies")) {
    expect_gradient(in.entropies.grad(), testing::tensor_of(test["grad_entropies"]), tokens,
                    tolerance, "gradient of entropies");
  }
  const std::string loss_type = config.value("loss_type", "dapo");
  const bool per_rollout = loss_type == "dapo" || loss_type == "cispo" || loss_type == "vespo";
  for (const auto& [name, value] : test["metrics"].items())
    expect_metric(result, name, value, per_rollout ? 1.0 : config.value("grad_accum", 1));
}

void expect_all(at::ScalarType type, double tolerance) {
  size_t cases = 0;
  for (const auto& path : testing::case_files("grpo_loss")) {
    SCOPED_TRACE(path.filename().string());
    const Json file = testing::read_cases(path);
    for (const Json& test : file["cases"]) expect_case(file, test, type, tolerance);
    cases += file["cases"].size();
  }
  EXPECT_GT(cases, 0U) << "no grpo_loss*.json in " << testing::cases_folder();
}

TEST(GrpoLossCases, EqualTrlInFloat64) {
  expect_all(at::kDouble, 1e-9);
}

TEST(GrpoLossCases, EqualTrlInFloat32) {
  expect_all(at::kFloat, 1e-5);
}

// The sampler's correction of the batch from its log-probs: the cap is what the batch was truncated
// at.
TEST(GrpoLossCases, ImportanceRatiosEqualTrls) {
  for (const auto& path : testing::case_files("grpo_loss")) {
    const Json batch = testing::read_cases(path)["batch"];
    const CaseBatch tokens = batch_of(batch, Json::object());
    const at::Tensor old = tokens.pick(testing::tensor_of(batch["old_logps"]));
    const at::Tensor sampling = tokens.pick(testing::tensor_of(batch["sampling_logps"]));
    LossOptions options;
    const auto expect_equal = [&](ImportanceCorrection mode, const at::Tensor& want_BT) {
      options.importance_correction = mode;
      options.importance_clip_max = want_BT.max().item<double>();
      const at::Tensor got = importance_ratios(old, sampling, tokens.offsets, options);
      EXPECT_LT(testing::relative_error(got, tokens.pick(want_BT)), 1e-6);
    };
    expect_equal(ImportanceCorrection::kTokenTruncate, testing::tensor_of(batch["is_ratio_token"]));
    expect_equal(ImportanceCorrection::kSequenceTruncate,
                 testing::tensor_of(batch["is_ratio_sequence"]).expand_as(tokens.mask_BT));
  }
}

// Through a plain log-softmax: temperature, entropies and the chain to the logits.
void expect_logits_case(const Json& logits_file, const Json& batch, const Json& test) {
  Json config = test["config"];
  const CaseBatch tokens = batch_of(batch, config);
  config["num_items_in_batch"] = tokens.indices.size(0);
  at::Tensor logits = testing::tensor_of(logits_file["logits"]).requires_grad_(true);
  const at::Tensor scaled = (logits / test["temperature"].get<double>()).log_softmax(-1);
  const at::Tensor ids = testing::tensor_of(logits_file["ids"]).to(at::kLong).unsqueeze(-1);
  const at::Tensor entropies = -(scaled.exp() * scaled).sum(-1),
                   logprobs = scaled.gather(-1, ids).squeeze(-1);
  EXPECT_LT(testing::relative_error(logprobs.detach(), testing::tensor_of(test["logps"])), 1e-9);
  LossInputs in = inputs_of(batch, config, tokens, at::kDouble);
  in.logprobs = tokens.pick(logprobs);
  in.entropies = tokens.pick(entropies);
  const Json wrapped = {{"trainer", "GRPOTrainer"}, {"config", config}};
  const LossResult result =
      policy_loss(in, options_of(wrapped, batch["max_completion_length"].get<int64_t>()));
  EXPECT_NEAR(result.loss.item<double>(), test["loss"].get<double>(), 1e-9);
  result.loss.backward();
  EXPECT_LT(testing::relative_error(logits.grad(), testing::tensor_of(test["grad_logits"])), 1e-9);
}

TEST(GrpoLossCases, FromLogitsEqualTrl) {
  size_t cases = 0;
  for (const auto& path : testing::case_files("grpo_logits")) {
    SCOPED_TRACE(path.filename().string());
    // Its batch (advantages, old log-probs) stands in the loss file of the same seed beside it.
    std::string name = path.filename().string();
    name.replace(name.find("logits"), 6, "loss");
    const Json file = testing::read_cases(path),
               batch = testing::read_cases(path.parent_path() / name)["batch"];
    for (const Json& test : file["cases"]) expect_logits_case(file, batch, test);
    cases += file["cases"].size();
  }
  EXPECT_GT(cases, 0U) << "no grpo_logits*.json in " << testing::cases_folder();
}

}  // namespace
}  // namespace ponder::grpo
