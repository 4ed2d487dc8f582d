#include "recipes/train.h"

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "cli/validators.h"
#include "core/stop.h"

namespace ponder::cli {

void add_train(CLI::App& app, int& status) {
  auto request = std::make_shared<recipes::TrainRequest>();
  auto seed = std::make_shared<std::string>();
  CLI::App* verb = app.add_subcommand("train", "run a recipe, or go on with its run");
  auto dump = std::make_shared<std::string>();
  auto* recipe = verb->add_option("recipe", request->recipe, "a TOML file");
  verb->add_option("overrides", request->overrides,
                   "key=value words that override the recipe (grpo.max_steps=20)");
  verb->add_option("--run", request->run_dir, "the run's folder; without it runs/NAME")
      ->check(not_empty());
  verb->add_option("--seed", *seed, "the same as seed=S");
  verb->add_option("--max-steps", request->stop_at_step,
                   "stop after step N as Ctrl-C would; the same command without it goes on")
      ->check(whole(1));
  verb->add_flag(
      "--check", request->check_only,
      "read recipe, model and data, forecast memory, show one scored group; train nothing");
  verb->add_option(
          "--replay", *dump,
          "make an update that failed again from its dump (RUN/dumps/...) and show what is "
          "not finite")
      ->excludes(recipe);
  verb->footer(
      "Example:\n  ponder train recipes/r1_zero_tiny.toml grpo.max_steps=20 --run runs/short");
  verb->callback([request, seed, dump, &status] {
    if (!dump->empty()) {
      status = recipes::replay(*dump, stdout) ? 0 : 1;
      return;
    }
    if (request->recipe.empty()) throw CLI::RequiredError("recipe");
    if (!seed->empty()) request->overrides.push_back("seed=" + *seed);
    std::signal(SIGPIPE, SIG_IGN);  // a training outlives the reader of its progress
    status = recipes::train(*request, stdout) ? 0 : 128 + core::stop_signal();
  });
}

}  // namespace ponder::cli
