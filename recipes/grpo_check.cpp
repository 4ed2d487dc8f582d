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

// Bytes that a forward pass leaves for the backward pass, a token.
double activation_bytes_per_token(const policy::Model& model) {
  const policy::ModelConfig& config = model.config();
  const int64_t tokens = std::min<int64_t>(kProbeTokens, config.max_position_embeddings - 1);
  const grpo::TrainBatch batch = probe_batch(tokens, config.vocab_size);
  const int64_t before = core::allocated_bytes();
  const policy::TokenLogprobs logprobs = batch_logprobs(model, batch, 1.0);
  return static_cast<double>(core::allocated_bytes() - before) / static_cast<double>(tokens);
}

std::string shown(const std::string& text) {
  return data::Json(text).dump(-1, ' ', false, data::Json::error_handler_t::replace);
}

}  // namespace

MemoryForecast forecast_memory(const GrpoRecipe& recipe, const Trainee& trainee,
                               int64_t prompt_tokens) {
  const GrpoOptions& o = recipe.grpo;
  int64_t trained = 0;
  for (const policy::Parameter& p : trainee.model.parameters()) {
    if (p.tensor.requires_grad()) trained += p.tensor.numel();
  }
  const int64_t sequences = o.prompts_per_step * o.num_generations;
  const int64_t length = std::min<int64_t>(prompt_tokens + o.max_completion_length,
                                           trainee.model.config().max_position_embeddings);
  MemoryForecast out;
  out.now = core::resident_memory_bytes();
  out.optimizer = trained * (4 + 8);  // float32: a gradient and two moments
  const int64_t running = std::min<int64_t>(sequences, rollout::EngineOptions().max_running);
  out.cache = std::min<int64_t>(rollout::EngineOptions().kv_cache_bytes,
                                running * length * trainee.model.cache_bytes_per_token());
  // A longer sequence is a micro-batch of its own; backward holds a layer's gradients beside what
  // forward left.
  const int64_t micro = std::max(length, std::min(o.train_tokens_max, sequences * length));
  out.activations = static_cast<int64_t>(1.25 * activation_bytes_per_token(trainee.model) *
                                         static_cast<double>(micro));
  return out;
}

void print_model(const GrpoRecipe& recipe, const Trainee& trainee, int64_t prompt_tokens,
                 std::FILE* out) {
  std::string stops;
  for (const int64_t id : trainee.model.config().eos_token_ids) {
    stops += fmt::format("{}{} {}", stops.empty() ? "" : ", ", id,
                         shown(trainee.tokenizer.id_to_token(static_cast<int32_t>(id))));
  }
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
  const MemoryForecast m = forecast_memory(recipe, trainee, prompt_tokens);
  fmt::print(out,
             "memory: about {} at the peak: {} now, {} gradients and moments, {} sampler's cache, "
             "{} activations of at most {} tokens (grpo.train_tokens_max)\n",
             bytes_text(m.total()), bytes_text(m.now), bytes_text(m.optimizer), bytes_text(m.cache),
             bytes_text(m.activations),
             core::format_count(static_cast<double>(recipe.grpo.train_tokens_max)));
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
