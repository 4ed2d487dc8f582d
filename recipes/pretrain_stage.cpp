#include "recipes/pretrain_stage.h"

#include <cmath>

#include <ATen/ATen.h>

#include "core/error.h"
#include "core/timer.h"
#include "policy/ops.h"
#include "recipes/trainee.h"

namespace ponder::recipes {
namespace {

// Documents laid end to end: token t of a document is trained to predict token t + 1.
struct TextBatch {
  policy::PackedInput input;
  at::Tensor indices;  // int64 [targets]: states that predict
  at::Tensor targets;  // int64 [targets]
  at::Tensor weights;  // float32 [targets]
  int64_t next_document = 0;
};

struct EncodedDocument {
  std::vector<int32_t> tokens;  // with the end-of-sequence token
  size_t prompt_tokens = 0;
};

Trainee make_trainee(const PretrainRecipe& recipe) {
  policy::Model model =
      policy::Model::random(policy::read_config(recipe.model_name_or_path), recipe.seed);
  model.for_each_linear(
      [&](policy::Linear& linear) { linear.precision = recipe.pretrain.linear_precision; });
  const std::vector<policy::Parameter> trained = model.parameters();
  return Trainee(std::move(model), trained, recipe.model_name_or_path, recipe.reward,
                 recipe.optimizer);
}

class PretrainStage : public Stage {
 public:
  explicit PretrainStage(const PretrainRecipe& recipe)
      : recipe_(recipe),
        trainee_(make_trainee(recipe)),
        save_dtype_(recipe.pretrain.save_dtype == "bfloat16" ? at::kBFloat16 : at::kFloat) {
    data::TaskOptions tasks;
    tasks.chain_sums = recipe.pretrain.corpus.sums;
    trainee_.held_out = data::held_out_problems("chain_sums", 0, recipe.eval.num_prompts, tasks);
    for (data::Prompt& prompt : trainee_.held_out)
      prompt.token_ids = trainee_.tokenizer.encode(prompt.text);
  }

  int64_t num_steps() const override { return recipe_.pretrain.max_steps; }

  Metrics step(int64_t step, const StepContext& context) override {
    const core::Stopwatch watch;
    policy::Model& model = trainee_.model;
    const PretrainOptions& o = recipe_.pretrain;
    const TextBatch batch = next_batch();
    next_document_ = batch.next_document;
    const at::Tensor loads =
        at::zeros({model.num_moe_layers(), model.config().moe.n_routed_experts}, at::kLong);
    policy::MoeRecord record{.loads = loads};
    const at::Tensor hidden = model.forward(batch.input, &record);
    const policy::TokenLogprobs logprobs = policy::token_logprobs(
        hidden.index_select(0, batch.indices), model.output_weight(), batch.targets, 1.0);
    // A constant divisor: a batch with few tokens moves the weights less.
    const at::Tensor loss =
        (logprobs.logprobs * batch.weights).sum().neg() / static_cast<double>(o.tokens_per_step);
    loss.backward();
    const double rate = policy::learning_rate_at(recipe_.optimizer, step - 1, o.max_steps);
    context.before_update();
    const policy::AdamW::StepResult result = trainee_.optimizer.step(rate);
    if (!result.applied)
      core::throw_run("step {}: the gradient is not finite: lower optimizer.learning_rate", step);
    model.update_balance_biases(loads, o.bias_update_rate);
    num_tokens_ += batch.input.cu_seqlens.back();
    const double weight = batch.weights.sum().item<double>();
    return {{"loss", loss.item<double>() * static_cast<double>(o.tokens_per_step) / weight},
            {"entropy", logprobs.entropies.detach().mean().item<double>()},
            {"grad_norm", result.grad_norm},
            {"learning_rate", rate},
            {"num_tokens", static_cast<double>(num_tokens_)},
            {"moe/max_violation", max_violation(loads)},
            {"timing_s/step", watch.seconds()},
            {"perf/tokens_per_s",
             static_cast<double>(batch.input.cu_seqlens.back()) / watch.seconds()}};
  }

  Metrics evaluate(int64_t step, const std::filesystem::path& evaluation_file,
                   const Say& say) override {
    return trainee_.evaluate(recipe_.eval, recipe_.seed, step, evaluation_file, say);
  }

  WriteCheckpoint checkpoint(int64_t step) const override {
    return trainee_.checkpoint(
        save_dtype_, {},
        {{"step", step}, {"next_document", next_document_}, {"num_tokens", num_tokens_}});
  }

  void restore(const std::filesystem::path& checkpoint) override {
    trainee_.restore(checkpoint, {}, [this](const data::Json& values) {
      next_document_ = values.at("next_document").get<int64_t>();
      num_tokens_ = values.at("num_tokens").get<int64_t>();
    });
  }

  core::StepLine line(const Metrics& metrics) const override {
    return {.loss = metrics.at("loss"),
            .entropy = metrics.at("entropy"),
            .tokens_per_s = metrics.at("perf/tokens_per_s")};
  }

 private:
  EncodedDocument encoded(int64_t index) const {
    const data::Document document =
        data::corpus_document(recipe_.seed, index, recipe_.pretrain.corpus);
    EncodedDocument out;
    out.tokens =
        trainee_.tokenizer.encode(std::string_view(document.text).substr(0, document.prompt_bytes));
    out.prompt_tokens = out.tokens.size();
    const auto rest =
        trainee_.tokenizer.encode(std::string_view(document.text).substr(document.prompt_bytes));
    out.tokens.insert(out.tokens.end(), rest.begin(), rest.end());
    out.tokens.push_back(static_cast<int32_t>(trainee_.model.config().eos_token_ids.front()));
    return out;
  }

  // Whole documents, as many as fit.
  TextBatch next_batch() const {
    std::vector<int64_t> tokens, positions, indices, targets;
    std::vector<float> weights;
    TextBatch batch;
    batch.input.cu_seqlens = {0};
    batch.next_document = next_document_;
    for (;;) {
      const EncodedDocument document = encoded(batch.next_document);
      const size_t total = tokens.size() + document.tokens.size();
      if (!tokens.empty() && static_cast<int64_t>(total) > recipe_.pretrain.tokens_per_step) break;
      for (size_t t = 0; t < document.tokens.size(); ++t) {
        tokens.push_back(document.tokens[t]);
        positions.push_back(static_cast<int64_t>(t));
        if (t + 1 == document.tokens.size()) continue;
        indices.push_back(static_cast<int64_t>(tokens.size()) - 1);
        targets.push_back(document.tokens[t + 1]);
        const bool prompt = t + 1 < document.prompt_tokens;
        weights.push_back(prompt ? static_cast<float>(recipe_.pretrain.prompt_loss_weight) : 1.0f);
      }
      batch.input.cu_seqlens.push_back(static_cast<int32_t>(tokens.size()));
      ++batch.next_document;
    }
    batch.input.token_ids = at::tensor(tokens);
    batch.input.positions = at::tensor(positions);
    batch.indices = at::tensor(indices);
    batch.targets = at::tensor(targets);
    batch.weights = at::tensor(weights);
    return batch;
  }

  // V3's measure of imbalance: how far the fullest expert lies above the mean load, as a share of
  // it; the worst layer.
  static double max_violation(const at::Tensor& loads) {
    if (loads.numel() == 0) return 0;
    const at::Tensor l = loads.to(at::kDouble);
    return (std::get<0>(l.max(1)) / l.mean(1) - 1).max().item<double>();
  }

  PretrainRecipe recipe_;
  Trainee trainee_;
  at::ScalarType save_dtype_;
  int64_t next_document_ = 0;
  int64_t num_tokens_ = 0;
};

}  // namespace

std::unique_ptr<Stage> make_pretrain_stage(const PretrainRecipe& recipe) {
  return std::make_unique<PretrainStage>(recipe);
}

}  // namespace ponder::recipes
