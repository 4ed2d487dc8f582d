// The options of guesses ahead, for the verbs that make an engine.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "cli/validators.h"
#include "rollout/engine.h"

namespace ponder::cli {

// REQUIRES: `options` lives as long as the verb.
inline void add_speculation(CLI::App& verb, rollout::EngineOptions& options) {
  static const std::map<std::string, rollout::Speculation> kinds = {
      {"none", rollout::Speculation::kNone},
      {"prompt-lookup", rollout::Speculation::kPromptLookup},
      {"mtp", rollout::Speculation::kMtp}};
  verb.add_option("--speculation", options.speculation,
                  "guess ahead and check in the same pass, with the same result: prompt-lookup, or "
                  "mtp, the model's own modules for it")
      ->transform(CLI::CheckedTransformer(kinds))
      ->option_text("none|prompt-lookup|mtp");
  verb.add_option("--guess-tokens", options.guess_tokens, "guessed ahead in each completion")
      ->check(whole(1))
      ->capture_default_str();
  verb.add_option("--guess-running-max", options.guess_running_max,
                  "guess while no more than so many completions run")
      ->check(whole(1))
      ->capture_default_str();
}

}  // namespace ponder::cli
