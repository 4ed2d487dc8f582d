// The keys under [rollout] of a recipe: the engine's memory, guesses ahead, and a server in its
// place.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/recipe.h"
#include "policy/tokenizer.h"
#include "rollout/engine.h"
#include "rollout/generator.h"

namespace ponder::recipes {

// A server that speaks OpenAI's completions API and samples instead of the policy. Its weights are
// its own: the loss corrects for what it sampled (importance sampling), whatever else the recipe
// says.
struct RemoteRolloutOptions {
  std::string base_url;     // http://HOST:PORT/v1; empty: the policy samples itself
  std::string model;        // as the server calls it; empty: not sent
  std::string api_key_env;  // the environment variable that holds the key; empty: none
  int64_t concurrency = 32;
  int64_t timeout_s = 600;
  bool prompts_as_text = false;
};
void bind(core::Binder& b, RemoteRolloutOptions& options);

struct RolloutOptions {
  int64_t kv_cache_mb = 256;
  int64_t max_running = 256;
  rollout::Speculation speculation = rollout::Speculation::kNone;
  int64_t guess_tokens = 3;
  int64_t guess_running_max = 4;
  RemoteRolloutOptions remote;

  bool is_remote() const { return !remote.base_url.empty(); }
};
void bind(core::Binder& b, RolloutOptions& options);

rollout::EngineOptions engine_options(const RolloutOptions& options);

// The recipe's server, or null where it names none. Throws UserError: the variable for the key is
// not set. REQUIRES: the tokenizer outlives it.
std::unique_ptr<rollout::Generator> make_remote(const RemoteRolloutOptions& options,
                                                const policy::Tokenizer& tokenizer);

}  // namespace ponder::recipes
