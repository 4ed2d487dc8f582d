#include "recipes/pretrain_stage.h"

#include <cmath>

#include <ATen/ATen.h>

#include "core/error.h"
#include "core/timer.h"
#include "distributed/sharding.h"
#include "policy/device/ops.h"
#include "policy/mtp_training.h"
#include "policy/ops.h"
#include "recipes/trainee.h"
#include "recipes/workers.h"

namespace ponder::recipes {
namespace {

// Documents laid end to end: token t of a document is trained to predict token t + 1. Of several
// workers each has some of a step's documents, maybe none.
struct TextBatch {
  policy::PackedInput input;
  at::Tensor targets;                         // int64 [targets]: places of the predicted tokens
  at::Tensor weights;                         // float32 [tokens]: of each token as a target
  int64_t num_documents = 0, num_tokens = 0;  // of the step, all workers'
  int64_t next_document = 0;

  // Cross entropy of the tokens at `places`, predicted by `states`, weighted and summed.
  struct Loss {
    at::Tensor sum;
    at::Tensor entropies;
  };
  Loss loss(const at::Tensor& states, const at::Tensor& places, const at::Tensor& output) const {
    const policy::TokenLogprobs logprobs =
        policy::token_logprobs(states, output, input.token_ids.index_select(0, places), 1.0);
    return {(logprobs.logprobs * weights.index_select(0, places)).sum().neg(), logprobs.entropies};
  }
  double weight_of(const at::Tensor& places) const {
    return weights.index_select(0, places).sum().item<double>();
  }
};

struct EncodedDocument {
  std::vector<int32_t> tokens;  // with the end-of-sequence token
  size_t prompt_tokens = 0;
};

Trainee make_trainee(const PretrainRecipe& recipe, distributed::Group& group) {
  if (recipe.training.lora.use_peft)
    core::throw_user("training.use_peft: pretrain makes fresh weights and trains all of them");
  policy::Model model = policy::Model::random(
      policy::read_config(recipe.model_name_or_path), recipe.seed,
      recipe.training.bf16 ? at::kBFloat16 : at::kFloat, device_of(recipe.training.device));
  model.set_gradient_checkpointing(recipe.training.gradient_checkpointing);
  model.for_each_linear(
      [&](policy::Linear& linear) { linear.precision = recipe.pretrain.linear_precision; });
  const std::vector<policy::Parameter> trained = model.parameters();
  return Trainee(std::move(model), trained, recipe.model_name_or_path, recipe.reward,
                 recipe.optimizer, group);
}

class PretrainStage : public Stage {
 public:
  PretrainStage(const PretrainRecipe& recipe, distributed::Group& group)
      : recipe_(recipe),
        group_(group),
        trainee_(make_trainee(recipe, group)),
        save_dtype_(recipe.pretrain.save_dtype == "bfloat16" ? at::kBFloat16 : at::kFloat) {
    data::TaskOptions tasks;
    tasks.chain_sums = recipe.pretrain.corpus.sums;
    trainee_.held_out = data::held_out_problems("chain_sums", 0, recipe.eval.num_prompts, tasks);
    for (data::Prompt& prompt : trainee_.held_out)
      prompt.token_ids = trainee_.tokenizer.encode(prompt.text);
  }

  int64_t num_steps() const override { return recipe_.pretrain.max_steps; }

  std::optional<Metrics> step(int64_t step, const StepContext& context) override {
    const core::Stopwatch watch;
    policy::Model& model = trainee_.model;
    const PretrainOptions& o = recipe_.pretrain;
    group_.doing("training");
    const TextBatch batch = next_batch();
    next_document_ = batch.next_document;
    at::Tensor loads =
        at::zeros({model.num_moe_layers(), model.config().moe.n_routed_experts}, at::kLong);
    const Losses losses = backward(batch, loads);
    const double rate = policy::learning_rate_at(recipe_.optimizer, step - 1, o.max_steps);
    context.before_update();
    const policy::AdamW::StepResult result = trainee_.optimizer.step(rate);
    if (!result.applied)
      core::throw_run("step {}: the gradient is not finite: lower optimizer.learning_rate", step);
    group_.all_reduce_sum(loads, "the experts' loads");
    model.update_balance_biases(loads, o.bias_update_rate);
    num_tokens_ += batch.num_tokens;
    Metrics metrics = metrics_of(losses);
    metrics.insert(
        {{"grad_norm", result.grad_norm},
         {"learning_rate", rate},
         {"num_tokens", static_cast<double>(num_tokens_)},
         {"moe/max_violation", max_violation(loads)},
         {"timing_s/step", watch.seconds()},
         {"perf/tokens_per_s", static_cast<double>(batch.num_tokens) / watch.seconds()}});
    return metrics;
  }

  std::optional<Metrics> evaluate(int64_t step, const std::filesystem::path& evaluation_file,
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

  // What one worker's documents came to.
  struct Losses {
    double sum = 0, weight = 0;              // next token
    double entropy = 0, entropy_tokens = 0;  // mean, and over how many
    double mtp_sum = 0, mtp_weight = 0;      // of the modules for multi-token prediction
    double aux = 0;                          // this worker's share of the balance loss
  };

  // Adds this worker's gradients and its experts' loads.
  Losses backward(const TextBatch& batch, at::Tensor& loads) {
    Losses out;
    if (batch.targets.size(0) == 0) return out;
    const policy::Model& model = trainee_.model;
    const PretrainOptions& o = recipe_.pretrain;
    policy::MoeRecord record{.loads = loads, .balance = o.aux_loss};
    const at::Tensor hidden = model.forward(batch.input, &record);
    const TextBatch::Loss main = batch.loss(
        hidden.index_select(0, policy::device::moved(batch.targets - 1, hidden.device())),
        batch.targets, model.output_weight());
    // A constant divisor: a batch with few tokens moves the weights less.
    at::Tensor loss = main.sum / static_cast<double>(o.tokens_per_step);
    if (model.num_mtp() > 0 && o.mtp_loss_weight > 0)
      loss = loss + mtp_loss(batch, hidden, record, out);
    if (record.balance_loss.defined()) {
      const double documents = static_cast<double>(batch.input.cu_seqlens.size() - 1);
      const at::Tensor share =
          record.balance_loss * (documents / static_cast<double>(batch.num_documents));
      loss = loss + share;
      out.aux = share.item<double>();
    }
    trainee_.optimizer.expect_last_backward();
    loss.backward();
    out.sum = main.sum.item<double>();
    out.weight = batch.weight_of(batch.targets);
    out.entropy = main.entropies.detach().mean().item<double>();
    out.entropy_tokens = static_cast<double>(batch.targets.size(0));
    return out;
  }

  // Of all workers.
  Metrics metrics_of(const Losses& own) {
    Losses all;
    for (const data::Json& l : gather_json(group_,
                                           {own.sum, own.weight, own.entropy, own.entropy_tokens,
                                            own.mtp_sum, own.mtp_weight, own.aux},
                                           "the step's losses")) {
      all.sum += l.at(0).get<double>();
      all.weight += l.at(1).get<double>();
      all.entropy += l.at(2).get<double>() * l.at(3).get<double>();
      all.entropy_tokens += l.at(3).get<double>();
      all.mtp_sum += l.at(4).get<double>();
      all.mtp_weight += l.at(5).get<double>();
      all.aux += l.at(6).get<double>();
    }
    const PretrainOptions& o = recipe_.pretrain;
    Metrics metrics = {{"loss", all.sum / all.weight},
                       {"entropy", all.entropy / all.entropy_tokens}};
    if (trainee_.model.num_mtp() > 0 && o.mtp_loss_weight > 0)
      metrics["mtp/loss"] = all.mtp_weight > 0 ? all.mtp_sum / all.mtp_weight : 0;
    if (o.aux_loss.any()) metrics["moe/aux_loss"] = all.aux;
    return metrics;
  }

  // lambda / D times the sum over the D modules' losses, DeepSeek-V3 (arXiv:2412.19437) eq. 25,
  // with the divisor of the loss itself.
  at::Tensor mtp_loss(const TextBatch& batch, const at::Tensor& hidden, policy::MoeRecord& record,
                      Losses& losses) const {
    const policy::Model& model = trainee_.model;
    at::Tensor total = at::zeros({});
    for (const policy::MtpStates& part : mtp_states(model, batch.input, hidden, &record)) {
      total = total + batch.loss(part.states, part.targets, model.output_weight()).sum;
      losses.mtp_weight += batch.weight_of(part.targets);
    }
    losses.mtp_sum = total.item<double>();
    return total * (recipe_.pretrain.mtp_loss_weight /
                    static_cast<double>(model.num_mtp() * recipe_.pretrain.tokens_per_step));
  }

  // Whole documents, as many as fit; this worker's of them, tokens balanced.
  TextBatch next_batch() const {
    std::vector<EncodedDocument> documents;
    std::vector<int64_t> lengths;
    TextBatch batch;
    batch.next_document = next_document_;
    for (;;) {
      EncodedDocument document = encoded(batch.next_document);
      const auto length = static_cast<int64_t>(document.tokens.size());
      if (!documents.empty() && batch.num_tokens + length > recipe_.pretrain.tokens_per_step) break;
      batch.num_tokens += length;
      lengths.push_back(length);
      documents.push_back(std::move(document));
      ++batch.next_document;
    }
    batch.num_documents = static_cast<int64_t>(documents.size());
    const std::vector<int> owners = distributed::balanced_owners(lengths, group_.size());
    std::vector<EncodedDocument> own;
    for (size_t i = 0; i < documents.size(); ++i) {
      if (owners[i] == group_.rank()) own.push_back(std::move(documents[i]));
    }
    lay_out(own, batch);
    return batch;
  }

  void lay_out(const std::vector<EncodedDocument>& documents, TextBatch& batch) const {
    std::vector<int64_t> tokens, positions, targets;
    std::vector<float> weights;
    batch.input.cu_seqlens = {0};
    for (const EncodedDocument& document : documents) {
      for (size_t t = 0; t < document.tokens.size(); ++t) {
        if (t > 0) targets.push_back(static_cast<int64_t>(tokens.size()));
        tokens.push_back(document.tokens[t]);
        positions.push_back(static_cast<int64_t>(t));
        const bool prompt = t < document.prompt_tokens;
        weights.push_back(prompt ? static_cast<float>(recipe_.pretrain.prompt_loss_weight) : 1.0f);
      }
      batch.input.cu_seqlens.push_back(static_cast<int32_t>(tokens.size()));
    }
    batch.input.token_ids = at::tensor(tokens);
    batch.input.positions = at::tensor(positions);
    batch.targets = at::tensor(targets);
    batch.weights = at::tensor(weights);
  }

  // V3's measure of imbalance: how far the fullest expert lies above the mean load, as a share of
  // it; the worst layer. A layer that did not run is balanced.
  static double max_violation(const at::Tensor& loads) {
    if (loads.numel() == 0) return 0;
    const at::Tensor l = loads.to(at::kDouble);
    return (std::get<0>(l.max(1)) / l.mean(1).clamp_min(1e-9) - 1).max().item<double>();
  }

  PretrainRecipe recipe_;
  distributed::Group& group_;
  Trainee trainee_;
  at::ScalarType save_dtype_;
  int64_t next_document_ = 0;
  int64_t num_tokens_ = 0;
};

}  // namespace

std::unique_ptr<Stage> make_pretrain_stage(const PretrainRecipe& recipe,
                                           distributed::Group& group) {
  return std::make_unique<PretrainStage>(recipe, group);
}

}  // namespace ponder::recipes
