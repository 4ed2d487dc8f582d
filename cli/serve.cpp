#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <memory>
#include <thread>

#include "cli/commands.h"
#include "cli/sampling_dtype.h"
#include "cli/speculation.h"
#include "cli/validators.h"
#include "core/error.h"
#include "core/file.h"
#include "core/stop.h"
#include "policy/chat_template.h"
#include "rollout/serve/server.h"

namespace ponder::cli {
namespace {

struct ServeRequest {
  std::filesystem::path model;
  std::string name, api_key, chat_template;
  SamplingDtype dtype;
  rollout::EngineOptions engine;
  rollout::serve::ServerOptions server;
  int64_t kv_cache_mb = 256, body_mb = 8, grace = 30, completion_tokens_max = 0,
          sequences_max = 128;
};

std::string name_of(const ServeRequest& request) {
  if (!request.name.empty()) return request.name;
  const auto path = request.model.lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

std::optional<policy::ChatTemplate> chat_of(const ServeRequest& request) {
  if (!request.chat_template.empty())
    return policy::ChatTemplate::from_text(core::read_file(request.chat_template, "chat template"),
                                           request.chat_template, request.model);
  if (!policy::ChatTemplate::exists(request.model)) return std::nullopt;
  return policy::ChatTemplate::load(request.model);
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

// The key comes from the environment where the command line, which others can see, does not give
// it.
void take_key(ServeRequest& request) {
  const char* key = std::getenv("PONDER_API_KEY");
  request.server.api_key = !request.api_key.empty() ? request.api_key : key ? key : "";
  if (!request.server.api_key.empty() || is_loopback(request.server.http.host)) return;
  fmt::print(stderr,
             "ponder: warning: anybody who reaches {} can use the model: set PONDER_API_KEY to ask "
             "for a key\n",
             request.server.http.host);
}

void run_serve(ServeRequest request) {
  take_key(request);
  request.engine.kv_cache_bytes = request.kv_cache_mb << 20;
  request.server.http.body_bytes_max = static_cast<size_t>(request.body_mb) << 20;
  request.server.grace = std::chrono::seconds(request.grace);
  request.engine.int8 = request.dtype.int8();
  const PolicyFiles policy = request.dtype.load(request.model);
  rollout::Engine engine(policy.model, policy.tokenizer, request.engine);
  const rollout::serve::Served served{.name = name_of(request),
                                      .tokenizer = policy.tokenizer,
                                      .chat = chat_of(request),
                                      .context = policy.model.config().max_position_embeddings,
                                      .sequences_max = request.sequences_max,
                                      .completion_tokens_max = request.completion_tokens_max,
                                      .sequence_tokens_max = engine.sequence_tokens_max(),
                                      .created = std::time(nullptr)};
  rollout::serve::Server server(engine, served, request.server);
  core::catch_stop_signals();
  std::jthread watcher([&server](const std::stop_token& done) {
    while (!done.stop_requested() && !core::stop_requested())
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    server.stop();
  });
  fmt::print(stderr, "ponder: serving {} at http://{}:{}/v1 (chat: {}; Ctrl-C stops)\n",
             served.name, request.server.http.host, server.port(),
             served.chat ? "yes" : "no chat template");
  if (served.sequence_tokens_max < served.context)
    fmt::print(stderr,
               "ponder: the cache holds {} of the context's {} tokens: --kv-cache-mb says more\n",
               served.sequence_tokens_max, served.context);
  server.run();
  if (core::stop_requested()) fmt::print(stderr, "ponder: stopped\n");
}

}  // namespace

void add_serve(CLI::App& app) {
  auto request = std::make_shared<ServeRequest>();
  rollout::serve::ServerOptions& server = request->server;
  CLI::App* verb = app.add_subcommand("serve", "a model behind OpenAI's API (docs/SERVE.md)");
  verb->add_option("model", request->model, "a Hugging Face folder, such as a checkpoint")
      ->required();
  verb->add_option("--host", server.http.host,
                   "address to listen at; others than loopback are open to the network")
      ->capture_default_str();
  verb->add_option("--port", server.http.port, "0: any free one")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  verb->add_option("--api-key", request->api_key,
                   "asked of every client; better in PONDER_API_KEY");
  verb->add_option("--name", request->name,
                   "of the model, for clients; default: the folder's name");
  verb->add_option("--chat-template", request->chat_template,
                   "a Jinja file in place of the model's own");
  add_dtype(*verb, request->dtype);
  verb->add_option("--max-running", request->engine.max_running, "completions decoded at once")
      ->check(whole(1))
      ->capture_default_str();
  add_speculation(*verb, request->engine);
  verb->add_option("--max-requests", server.requests_max,
                   "under way at once; one more is answered with 429")
      ->check(whole(1))
      ->capture_default_str();
  verb->add_option("--max-sequences", request->sequences_max, "completions of one request")
      ->check(whole(1))
      ->capture_default_str();
  verb->add_option("--max-new-tokens", request->completion_tokens_max,
                   "of a completion; 0: what the model's context and the cache hold")
      ->check(whole(0))
      ->capture_default_str();
  verb->add_option("--kv-cache-mb", request->kv_cache_mb,
                   "memory of the cache, which bounds a prompt with its completion")
      ->check(whole(1))
      ->capture_default_str();
  verb->add_option("--max-body-mb", request->body_mb, "of a request's body")
      ->check(whole(1))
      ->capture_default_str();
  verb->add_option("--grace", request->grace,
                   "seconds for requests under way when the server is stopped")
      ->check(whole(0))
      ->capture_default_str();
  verb->add_option("--seed", server.seed, "of requests that give none")
      ->check(whole(0, std::numeric_limits<int64_t>::max()))
      ->capture_default_str();
  verb->footer(
      "Example:\n  ponder serve runs/r1_zero_tiny/checkpoints/latest --port 8000\n"
      "  curl http://127.0.0.1:8000/v1/completions -d '{\"prompt\": \"User: "
      "7+5=?\\nAssistant:\"}'");
  verb->callback([request] { run_serve(*request); });
}

}  // namespace ponder::cli
