#include "recipes/grpo_check.h"

#include <algorithm>

#include <ATen/ATen.h>

#include "core/memory.h"
#include "core/progress.h"
#include "recipes/batch_logprobs.h"

namespace ponder::recipes {
namespace {

constexpr int64_t kProbeTokens = 512;

std::string bytes_text(int64_t bytes) {
  return core::format_count(static_cast<double>(bytes)) + "B";
}

// One sequence of `tokens` made-up tokens, all but the first of them trained.
grpo::TrainBatch probe_batch(int64_t tokens, int64_t vocabulary) {
  data::Group group;
  group.prompt.token_ids = {0};
  data::Completion completion;
  for (int64_t t = 1; t < tokens; ++t)
    completion.token_ids.push_back(static_cast<int32_t>((7 * t) % vocabulary));
  completion.logprobs.assign(completion.token_ids.size(), 0);
  group.completions = {completion};
  data::Score score;
  score.value = 1;
  const std::vector<data::ScoredGroup> groups = {{group, {score}}};
  return grpo::pack(groups, {{1.0F}});
}

}  // namespace

double activation_bytes_per_token(const policy::Model& model) {
  const policy::ModelConfig& config = model.config();
  const int64_t tokens = std::min<int64_t>(kProbeTokens, config.max_position_embeddings - 1);
  const grpo::TrainBatch batch = probe_batch(tokens, config.vocab_size);
  const int64_t before = core::allocated_bytes();
  const policy::TokenLogprobs logprobs = batch_logprobs(model, batch, 1.0);
  return static_cast<double>(core::allocated_bytes() - before) / static_cast<double>(tokens);
}

MemoryForecast forecast_memory(const GrpoRecipe& recipe, const Trainee& trainee,
                               const Lengths& lengths, double activation_bytes, int workers) {
  const GrpoOptions& o = recipe.grpo;
  int64_t trained = 0;
  for (const policy::Parameter& p : trainee.model.parameters()) {
    if (p.tensor.requires_grad()) trained += p.tensor.numel();
  }
  for (const auto& adapter : trainee.model.adapters())
    trained += adapter->a.numel() + adapter->b.numel();
  const int64_t prompts = (o.prompts_per_step + workers - 1) / workers;
  const int64_t sequences = prompts * o.num_generations;
  const int64_t longest = std::min<int64_t>(lengths.prompt + lengths.completion,
                                            trainee.model.config().max_position_embeddings);
  // A prompt is seen once by its group.
  const int64_t update =
      (prompts * lengths.prompt + sequences * lengths.completion) / o.steps_per_generation;
  // A longer sequence is a micro-batch of its own.
  const int64_t micro = std::max(longest, std::min(o.train_tokens_max, update));
  MemoryForecast out;
  out.now = core::resident_memory_bytes();
  out.at_once = o.one_step_off;
  out.gradients = trained * 4;  // added up in float32
  const int64_t running =
      recipe.rollout.is_remote() ? 0 : std::min<int64_t>(sequences, recipe.rollout.max_running);
  out.cache = std::min<int64_t>(recipe.rollout.kv_cache_mb << 20,
                                running * longest * trainee.engine.cache_bytes_per_token());
  // Backward holds a layer's gradients beside what forward left.
  out.activations = static_cast<int64_t>(1.25 * activation_bytes * static_cast<double>(micro));
  return out;
}

namespace {

std::string shown(const std::string& text) {
  return data::Json(text).dump(-1, ' ', false, data::Json::error_handler_t::replace);
}

int64_t mean_length(const data::Group& group) {
  size_t total = 0;
  for (const data::Completion& completion : group.completions) total += completion.token_ids.size();
  return static_cast<int64_t>((total + group.completions.size() - 1) / group.completions.size());
}

void print_memory(const GrpoRecipe& recipe, const Trainee& trainee, const data::Group& group,
                  int workers, std::FILE* out) {
  const double activation_bytes = activation_bytes_per_token(trainee.model);
  const std::string each = workers > 1 ? fmt::format(" of each of {} workers", workers) : "";
  Lengths lengths{.prompt = static_cast<int64_t>(group.prompt.token_ids.size()),
                  .completion = mean_length(group)};
  const MemoryForecast m = forecast_memory(recipe, trainee, lengths, activation_bytes, workers);
  fmt::print(out,
             "memory{}: about {} at the peak with completions of {} tokens, as this group's are in "
             "the mean: {} now, {} gradients, {} sampler's cache, {} activations\n",
             each, bytes_text(m.total()), lengths.completion, bytes_text(m.now),
             bytes_text(m.gradients), bytes_text(m.cache), bytes_text(m.activations));
  lengths.completion = recipe.grpo.max_completion_length;
  const MemoryForecast most = forecast_memory(recipe, trainee, lengths, activation_bytes, workers);
  fmt::print(out,
             "memory{}: about {} where all reach {} tokens: {} activations of at most {} tokens "
             "(grpo.train_tokens_max)\n",
             each, bytes_text(most.total()), lengths.completion, bytes_text(most.activations),
             core::format_count(static_cast<double>(recipe.grpo.train_tokens_max)));
}

}  // namespace

void print_model(const GrpoRecipe& recipe, const Trainee& trainee, const data::Group& group,
                 int workers, std::FILE* out) {
  std::string stops;
  for (const int64_t id : trainee.model.config().eos_token_ids) {
    stops += fmt::format("{}{} {}", stops.empty() ? "" : ", ", id,
                         shown(trainee.tokenizer.id_to_token(static_cast<int32_t>(id))));
  }
  for (const std::string& stop : recipe.grpo.stop_strings)
    stops += fmt::format(", {}", shown(stop));
  fmt::print(out, "model: {} parameters; a completion stops at {}\n",
             core::format_count(static_cast<double>(policy::parameter_count(trainee.model))),
             stops);
  const auto eos = trainee.tokenizer.eos_id();
  const auto& ids = trainee.model.config().eos_token_ids;
  if (eos && std::find(ids.begin(), ids.end(), *eos) == ids.end()) {
    fmt::print(stderr,
               "ponder: warning: the tokenizer ends sequences with {} {}, which does not stop this "
               "model: is eos_token_id in its generation_config.json right?\n",
               *eos, shown(trainee.tokenizer.id_to_token(*eos)));
  }
  print_memory(recipe, trainee, group, workers, out);
  const int64_t token = trainee.engine.cache_bytes_per_token(),
                plain = trainee.engine.plain_attention_bytes_per_token();
  fmt::print(out,
             "sampler's cache: {} bytes a token; plain multi-head attention: {} ({:.1f} times)\n",
             token, plain, static_cast<double>(plain) / static_cast<double>(token));
}

void print_group(const data::ScoredGroup& group, const grpo::Advantages& advantages,
                 std::FILE* out) {
  const data::Prompt& prompt = group.group.prompt;
  fmt::print(out, "prompt {} as rendered, {} tokens:\n  {}\nanswer: {}\n", prompt.id,
             prompt.token_ids.size(), shown(prompt.text), prompt.answer.dump());
  for (size_t i = 0; i < group.scores.size(); ++i) {
    const data::Completion& completion = group.group.completions[i];
    const data::Score& score = group.scores[i];
    std::string parts;
    for (const auto& [name, value] : score.parts) parts += fmt::format(", {} {:g}", name, value);
    fmt::print(
        out,
        "completion {}: {}\n  {} tokens, ended by {}; {} ({}); reward {}{}; advantage {:.3f}\n", i,
        shown(completion.text), completion.token_ids.size(),
        data::name_of(completion.finish_reason), data::name_of(score.status), score.reason,
        score.value ? fmt::format("{:g}", *score.value) : "none", parts,
        advantages.values.at(0)[i]);
  }
}

}  // namespace ponder::recipes
