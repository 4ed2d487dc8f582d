#include "recipes/rollout_options.h"

#include <chrono>
#include <cstdlib>

#include "core/error.h"
#include "rollout/remote/remote_engine.h"

namespace ponder::recipes {

void bind(core::Binder& b, RemoteRolloutOptions& o) {
  b.field("base_url", o.base_url,
          "http://HOST:PORT/v1 of a completions server that samples instead; empty: none");
  b.field("model", o.model, "as the server calls it; empty: not sent");
  b.field("api_key_env", o.api_key_env, "environment variable that holds the server's key");
  b.field("concurrency", o.concurrency, "requests under way at once, one a completion",
          {.low = 1, .high = 4096});
  b.field("timeout_s", o.timeout_s, "seconds of one try, its answer included", {.low = 1});
  b.field("prompts_as_text", o.prompts_as_text, "for servers that take no token ids (llama.cpp's)");
}

void bind(core::Binder& b, RolloutOptions& o) {
  b.field("kv_cache_mb", o.kv_cache_mb, "memory of the sampler's cache, MiB; short: slower",
          {.low = 1});
  b.field("max_running", o.max_running, "completions decoded at once", {.low = 1});
  b.choice<rollout::Speculation>(
      "speculation", o.speculation,
      {{"none", rollout::Speculation::kNone},
       {"prompt_lookup", rollout::Speculation::kPromptLookup},
       {"mtp", rollout::Speculation::kMtp}},
      "tokens guessed ahead and checked in the same pass: the same bits");
  b.field("guess_tokens", o.guess_tokens, "guessed ahead in each completion",
          {.low = 1, .high = 64});
  b.field("guess_running_max", o.guess_running_max,
          "guess while no more than so many completions run", {.low = 1});
  b.table("remote", o.remote);
}

rollout::EngineOptions engine_options(const RolloutOptions& o) {
  return {.max_running = o.max_running,
          .kv_cache_bytes = o.kv_cache_mb << 20,
          .speculation = o.speculation,
          .guess_tokens = o.guess_tokens,
          .guess_running_max = o.guess_running_max};
}

std::unique_ptr<rollout::Generator> make_remote(const RemoteRolloutOptions& o,
                                                const policy::Tokenizer& tokenizer) {
  if (o.base_url.empty()) return nullptr;
  std::string key;
  if (!o.api_key_env.empty()) {
    const char* value = std::getenv(o.api_key_env.c_str());
    if (value == nullptr) {
      core::throw_user("rollout.remote.api_key_env: the environment variable {} is not set",
                       o.api_key_env);
    }
    key = value;
  }
  return std::make_unique<rollout::remote::RemoteEngine>(
      tokenizer,
      rollout::remote::RemoteOptions{.client = {.url = o.base_url,
                                                .api_key = key,
                                                .timeout = std::chrono::seconds(o.timeout_s)},
                                     .model = o.model,
                                     .concurrency = o.concurrency,
                                     .prompts_as_text = o.prompts_as_text});
}

}  // namespace ponder::recipes
