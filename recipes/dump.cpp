#include "recipes/dump.h"

#include <cmath>

#include <ATen/ATen.h>

#include "core/error.h"
#include "core/file.h"
#include "core/json_text.h"
#include "policy/hf_folder.h"
#include "policy/safetensors.h"
#include "recipes/batch_logprobs.h"

namespace ponder::recipes {
namespace {

namespace fs = std::filesystem;
using data::Json;

// A number that JSON cannot hold is written as its name.
Json number(double value) {
  return std::isfinite(value) ? Json(value) : Json(fmt::format("{}", value));
}

at::Tensor as_tensor(const std::vector<int32_t>& values) {
  return at::tensor(values, at::kInt);
}

std::vector<int32_t> as_vector(const at::Tensor& values) {
  return {values.const_data_ptr<int32_t>(), values.const_data_ptr<int32_t>() + values.numel()};
}

policy::NamedTensors tensors_of(const grpo::TrainBatch& batch) {
  policy::NamedTensors out = {{"token_ids", batch.token_ids},
                              {"positions", batch.positions},
                              {"loss_mask", batch.loss_mask},
                              {"advantages", batch.advantages},
                              {"cu_seqlens", as_tensor(batch.cu_seqlens)},
                              {"prompt_lengths", as_tensor(batch.prompt_lengths)},
                              {"groups", as_tensor(batch.groups)}};
  const auto optional = [&](const char* name, const at::Tensor& x) {
    if (x.defined()) out.emplace_back(name, x);
  };
  optional("old_logprobs", batch.old_logprobs);
  optional("sampling_logprobs", batch.sampling_logprobs);
  optional("ref_logprobs", batch.ref_logprobs);
  optional("kept_ids", batch.kept_ids);
  optional("kept_counts", batch.kept_counts);
  optional("experts", batch.experts);
  return out;
}

grpo::TrainBatch read_batch(const fs::path& path) {
  const policy::SafetensorsFile file(path);
  const auto optional = [&](const char* name) {
    return file.contains(name) ? file.tensor(name).clone() : at::Tensor();
  };
  grpo::TrainBatch batch;
  batch.token_ids = file.tensor("token_ids").clone();
  batch.positions = file.tensor("positions").clone();
  batch.loss_mask = file.tensor("loss_mask").clone();
  batch.advantages = file.tensor("advantages").clone();
  batch.old_logprobs = optional("old_logprobs");
  batch.sampling_logprobs = optional("sampling_logprobs");
  batch.ref_logprobs = optional("ref_logprobs");
  batch.kept_ids = optional("kept_ids");
  batch.kept_counts = optional("kept_counts");
  batch.experts = optional("experts");
  batch.cu_seqlens = as_vector(file.tensor("cu_seqlens"));
  batch.prompt_lengths = as_vector(file.tensor("prompt_lengths"));
  batch.groups = as_vector(file.tensor("groups"));
  batch.num_loss_tokens = batch.loss_mask.sum().item<int64_t>();
  return batch;
}

Json json_of(const grpo::Normalizer& n) {
  return {{"sequences", n.sequences},
          {"loss_tokens", n.loss_tokens},
          {"rollout_tokens", n.rollout_tokens},
          {"entropy_threshold", n.entropy_threshold ? number(*n.entropy_threshold) : Json()},
          {"entropy_tokens", n.entropy_tokens ? number(*n.entropy_tokens) : Json()}};
}

grpo::Normalizer normalizer_from(const Json& json) {
  const auto optional = [&](const char* key) {
    return json.at(key).is_number() ? std::optional<double>(json.at(key).get<double>())
                                    : std::nullopt;
  };
  return {.sequences = json.at("sequences").get<double>(),
          .loss_tokens = json.at("loss_tokens").get<double>(),
          .rollout_tokens = json.at("rollout_tokens").get<double>(),
          .entropy_threshold = optional("entropy_threshold"),
          .entropy_tokens = optional("entropy_tokens")};
}

int64_t count_not_finite(const at::Tensor& x) {
  return x.numel() - at::isfinite(x).sum().item<int64_t>();
}

void print_sequences(const grpo::TrainBatch& micro, const grpo::LossInputs& inputs,
                     std::FILE* out) {
  const auto report = [&](const char* name, const at::Tensor& values) {
    if (!values.defined()) return;
    for (size_t s = 0; s + 1 < inputs.offsets.size(); ++s) {
      const int64_t bad =
          count_not_finite(values.detach().slice(0, inputs.offsets[s], inputs.offsets[s + 1]));
      if (bad > 0) {
        fmt::print(out, "  sequence {} (group {}): {} of {} {} are not finite\n", s,
                   micro.groups[s], bad, inputs.offsets[s + 1] - inputs.offsets[s], name);
      }
    }
  };
  report("log-probs", inputs.logprobs);
  report("entropies", inputs.entropies);
  report("old log-probs", inputs.old_logprobs);
  report("reference log-probs", inputs.ref_logprobs);
  report("sampling log-probs", inputs.sampling_logprobs);
  report("advantages", inputs.advantages);
}

// Prints what of the model holds numbers that are not finite; returns whether anything does.
bool print_parameters(const policy::Model& model, std::FILE* out) {
  bool found = false;
  for (const policy::Parameter& p : model.parameters()) {
    const at::Tensor grad = p.tensor.grad();
    const int64_t weights = count_not_finite(p.tensor.detach()),
                  grads = grad.defined() ? count_not_finite(grad) : 0;
    if (weights + grads == 0) continue;
    found = true;
    fmt::print(out, "  {}: {} weights and {} gradients of {} are not finite\n", p.name, weights,
               grads, p.tensor.numel());
  }
  return found;
}

}  // namespace

bool sampler_differs(const GrpoRecipe& recipe) {
  return recipe.training.bf16 || recipe.training.device != DeviceKind::kCpu ||
         recipe.rollout.is_remote() || recipe.grpo.one_step_off ||
         recipe.grpo.partial_rollout_tokens > 0;
}

grpo::LossOptions loss_options(const GrpoRecipe& recipe) {
  grpo::LossOptions loss = recipe.grpo.loss;
  loss.max_completion_length = recipe.grpo.max_completion_length;
  if (recipe.grpo.use_kl_in_reward) loss.beta = 0;
  if (!sampler_differs(recipe)) loss.correct_sampler = false;
  return loss;
}

fs::path write_dump(const fs::path& dumps, const GrpoRecipe& recipe, const policy::Model& model,
                    const FailedUpdate& update) {
  const fs::path folder = dumps / fmt::format("{:06}-{}", update.step, update.update);
  std::error_code error;
  fs::create_directories(folder / "model", error);
  if (error) core::throw_run("cannot make the folder {}: {}", folder.string(), error.message());
  core::write_file_atomic(folder / "recipe.toml", core::RecipeWriter::text_of(recipe));
  policy::save_hf_folder(model, model.dtype(), recipe.model_name_or_path, folder / "model");
  policy::save_safetensors(folder / "batch.safetensors", tensors_of(update.batch));
  const Json json = {{"step", update.step},
                     {"update", update.update},
                     {"loss", number(update.loss)},
                     {"grad_norm", number(update.grad_norm)},
                     {"entropy_coef", update.entropy_coef},
                     {"normalizer", json_of(update.normalizer)}};
  core::write_file_atomic(folder / "dump.json", json.dump(2) + "\n");
  return folder;
}

namespace {

// The update of `json`, the folder's dump.json; whether everything is finite this time.
bool replay(const fs::path& folder, const GrpoRecipe& recipe, const Json& json, std::FILE* out) {
  fmt::print(out, "step {}, update {}: loss {}, gradient norm {}\n", json.at("step").dump(),
             json.at("update").dump(), json.at("loss").dump(), json.at("grad_norm").dump());
  const policy::Model model =
      policy::Model::load(folder / "model", recipe.training.bf16 ? at::kBFloat16 : at::kFloat);
  const grpo::TrainBatch batch = read_batch(folder / "batch.safetensors");
  grpo::LossOptions loss = loss_options(recipe);
  loss.entropy_coef = json.at("entropy_coef").get<double>();
  const grpo::Normalizer normalizer = normalizer_from(json.at("normalizer"));
  double total = 0;
  int64_t number_of = 0;
  for (const grpo::TrainBatch& micro : grpo::split(batch, recipe.grpo.train_tokens_max)) {
    ++number_of;
    if (micro.num_loss_tokens == 0) continue;
    policy::MoeRecord record{.balance = recipe.grpo.aux_loss};
    const policy::TokenLogprobs now =
        batch_logprobs(model, micro, recipe.grpo.temperature, &record);
    grpo::LossInputs inputs = grpo::loss_inputs(micro, now.logprobs, normalizer, loss);
    inputs.entropies = now.entropies;
    at::Tensor value = grpo::policy_loss(inputs, loss).loss;
    if (record.balance_loss.defined()) {
      value = value + record.balance_loss * (static_cast<double>(micro.num_sequences()) /
                                             static_cast<double>(batch.num_sequences()));
    }
    value.backward();
    total += value.item<double>();
    fmt::print(out, "micro-batch {}: {} sequences, {} tokens, loss {}\n", number_of,
               micro.num_sequences(), micro.num_tokens(), value.item<double>());
    print_sequences(micro, inputs, out);
  }
  const bool broken = print_parameters(model, out);
  fmt::print(
      out, "replayed loss {}: {}\n", total,
      std::isfinite(total) && !broken ? "everything is finite here" : "not finite here either");
  return std::isfinite(total) && !broken;
}

}  // namespace

bool replay_dump(const fs::path& folder, std::FILE* out) {
  if (!fs::exists(folder / "dump.json")) {
    core::throw_user(
        "{} is no dump of a failed update: it has no dump.json (a run keeps them in its folder "
        "dumps)",
        folder.string());
  }
  GrpoRecipe recipe;
  core::Recipe::from_file(folder / "recipe.toml").read(recipe);
  const fs::path path = folder / "dump.json";
  const Json json = core::parse_json<Json>(core::read_file(path, "dump"), path.string());
  try {
    return replay(folder, recipe, json, out);
  } catch (const Json::exception& error) {
    core::throw_user("{}: damaged: {}", path.string(), error.what());
  }
}

}  // namespace ponder::recipes
