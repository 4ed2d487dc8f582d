#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/policy_files.h"
#include "cli/sampling_dtype.h"
#include "cli/validators.h"
#include "core/error.h"
#include "data/dataset.h"
#include "policy/chat_template.h"
#include "rollout/engine.h"
#include "rollout/remote/remote_engine.h"

namespace ponder::cli {
namespace {

constexpr double kTemperatureMin = 1e-4;  // logits divided by less leave float32's range

struct SampleRequest {
  std::filesystem::path model, prompts;
  std::string prompt;
  SamplingDtype dtype;
  bool chat = false, server_takes_text = false;
  std::string server, server_model;
  rollout::SampleOptions options;
};

// What a user would say, as the model was trained to see it.
void render_chat(const std::filesystem::path& model, std::vector<data::Prompt>& prompts) {
  const policy::ChatTemplate chat = policy::ChatTemplate::load(model);
  policy::ChatOptions options;
  options.add_generation_prompt = true;
  for (data::Prompt& prompt : prompts) {
    const policy::OrderedJson message = {{"role", "user"}, {"content", prompt.text}};
    prompt.text = chat.render(policy::OrderedJson::array({message}), options).text;
  }
}

std::vector<data::Prompt> prompts_of(const SampleRequest& request,
                                     const policy::Tokenizer& tokenizer) {
  if (request.prompt.empty() == request.prompts.empty()) {
    core::throw_user("sample: expected either --prompts FILE or --prompt TEXT");
  }
  std::vector<data::Prompt> prompts;
  if (request.prompts.empty()) {
    data::Prompt prompt;
    prompt.id = "1";
    prompt.text = request.prompt;
    prompts.push_back(std::move(prompt));
  } else {
    prompts = data::read_prompts(request.prompts);
  }
  if (request.chat) render_chat(request.model, prompts);
  // A chat template writes its own special tokens; a plain text gets the tokenizer's, as in
  // training.
  for (data::Prompt& prompt : prompts)
    prompt.token_ids = tokenizer.encode(prompt.text, !request.chat);
  return prompts;
}

void print_groups(const std::vector<data::Group>& groups) {
  for (const data::Group& group : groups) {
    for (const data::Completion& completion : group.completions) {
      const nlohmann::json line = {{"id", group.prompt.id},
                                   {"prompt", group.prompt.text},
                                   {"completion", completion.text},
                                   {"tokens", completion.token_ids},
                                   {"logprobs", completion.logprobs},
                                   {"sampling_logprobs", completion.sampling_logprobs},
                                   {"finish_reason", data::name_of(completion.finish_reason)}};
      fmt::print("{}\n", line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    }
  }
}

void sample_remotely(const SampleRequest& request) {
  const policy::Tokenizer tokenizer = policy::Tokenizer::from_folder(request.model);
  const char* key = std::getenv("PONDER_API_KEY");
  rollout::remote::RemoteEngine engine(
      tokenizer, {.client = {.url = request.server, .api_key = key ? key : ""},
                  .model = request.server_model,
                  .prompts_as_text = request.server_takes_text});
  print_groups(engine.generate(prompts_of(request, tokenizer), request.options, 0, {}));
}

void run_sample(const SampleRequest& request) {
  const double temperature = request.options.rule.temperature;
  if (temperature > 0 && temperature < kTemperatureMin) {
    core::throw_user("--temperature: expected 0, which is greedy, or at least {}, found {}",
                     kTemperatureMin, temperature);
  }
  if (!request.server.empty()) return sample_remotely(request);
  const PolicyFiles policy = request.dtype.load(request.model);
  rollout::Engine engine(policy.model, policy.tokenizer, {.int8 = request.dtype.int8()});
  print_groups(engine.generate(prompts_of(request, policy.tokenizer), request.options));
}

}  // namespace

void add_sample(CLI::App& app) {
  auto request = std::make_shared<SampleRequest>();
  rollout::SampleOptions& options = request->options;
  options.max_completion_length = 256;
  CLI::App* verb = app.add_subcommand("sample", "completions of prompts, as JSON lines");
  verb->add_option("--model", request->model, "a Hugging Face folder")->required();
  verb->add_option("--prompts", request->prompts, "a JSONL file of {\"prompt\": ...}");
  verb->add_option("--prompt", request->prompt, "one prompt's text");
  verb->add_flag("--chat", request->chat,
                 "each prompt is a user's message: through the model's chat template");
  verb->add_option(
      "--server", request->server,
      "http://HOST:PORT/v1 of a completions server that has the model (docs/SERVE.md); "
      "--model then gives the tokenizer");
  verb->add_flag("--server-takes-text", request->server_takes_text,
                 "send prompts as texts: for servers that take no token ids");
  verb->add_option("--server-model", request->server_model, "the model's name there");
  verb->add_option("-n", options.num_generations, "completions of each prompt")
      ->check(whole(1))
      ->capture_default_str();
  verb->add_option("--temperature", options.rule.temperature, "0: greedy")
      ->check(number(0, 1000))
      ->capture_default_str();
  verb->add_option("--top-p", options.rule.top_p, "mass of the tokens that may be drawn")
      ->check(number(0, 1))
      ->capture_default_str();
  verb->add_option("--top-k", options.rule.top_k, "number of tokens that may be drawn; 0: all")
      ->check(whole(0))
      ->capture_default_str();
  verb->add_option("--min-p", options.rule.min_p,
                   "tokens at least this share as likely as the likeliest")
      ->check(number(0, 1))
      ->capture_default_str();
  verb->add_option("--repetition-penalty", options.rule.repetition_penalty,
                   "divides the logits of tokens that have come before; 1: none")
      ->check(number(0.01, 100))
      ->capture_default_str();
  verb->add_option("--stop", options.stop,
                   "a text that ends a completion, not part of it; may be given more than once");
  verb->add_option("--min-new-tokens", options.min_completion_length,
                   "no stop token before so many")
      ->check(whole(0))
      ->capture_default_str();
  add_dtype(*verb, request->dtype);
  verb->add_option("--max-new-tokens", options.max_completion_length, "of a completion")
      ->check(whole(1))
      ->capture_default_str();
  verb->add_option("--seed", options.seed, "the same seed gives the same completions")
      ->check(whole(0, std::numeric_limits<int64_t>::max()))
      ->capture_default_str();
  verb->footer(
      "Example:\n  ponder sample --model examples/tiny-v3-base --prompt $'User: "
      "7+5-3=?\\nAssistant:' -n 4");
  verb->callback([request] { run_sample(*request); });
}

}  // namespace ponder::cli
