#include "recipes/train.h"

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "cli/validators.h"
#include "core/error.h"
#include "distributed/launch.h"
#include "distributed/spawn.h"

namespace ponder::cli {
namespace {

// The words that make a worker of this request.
std::vector<std::string> worker_words(const recipes::TrainRequest& request) {
  std::vector<std::string> words = {"ponder", "train", request.recipe.string()};
  words.insert(words.end(), request.overrides.begin(), request.overrides.end());
  if (!request.run_dir.empty()) words.insert(words.end(), {"--run", request.run_dir.string()});
  if (request.stop_at_step)
    words.insert(words.end(), {"--max-steps", std::to_string(*request.stop_at_step)});
  words.insert(words.end(), {"--worker-timeout", fmt::format("{}", request.timeout_s)});
  return words;
}

// Starts the workers and watches them; what is wrong with the recipe is said once, here.
int train_on_workers(const recipes::TrainRequest& request, int workers) {
  const distributed::Worker place = distributed::worker_from_environment();
  if (place.launcher != "none") {
    core::throw_user(
        "--workers starts workers on this machine, but {} has started this one as rank {} of {}: "
        "leave --workers out",
        place.launcher, place.rank, place.world_size);
  }
  recipes::check_recipe(request, workers);
  return distributed::run_workers(worker_words(request), workers, {.block_stops = true});
}

}  // namespace

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
  auto device = std::make_shared<std::string>();
  verb->add_option("--device", *device,
                   "the same as training.device=D: cpu, or cuda, one GPU a worker (docs/GPU.md)")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  auto workers = std::make_shared<int>(1);
  verb->add_option("--workers", *workers,
                   "train with so many processes on this machine; torchrun, srun and mpirun start "
                   "them themselves")
      ->check(CLI::Range(1, 1024));
  verb->add_option("--worker-timeout", request->timeout_s,
                   "with several workers: seconds that one waits for the slowest, before the job "
                   "ends with a word on who is missing")
      ->check(number(1, 1e6))
      ->capture_default_str();
  verb->add_flag(
      "--check", request->check_only,
      "read recipe, model and data, forecast memory, show one scored group; train nothing");
  verb->add_option(
          "--replay", *dump,
          "make an update that failed again from its dump (RUN/dumps/...) and show what is "
          "not finite")
      ->excludes(recipe);
  verb->footer(
      "Example:\n  ponder train recipes/r1_zero_tiny.toml grpo.max_steps=20 --run runs/short\n"
      "  ponder train recipes/r1_zero_tiny.toml --workers 2\n"
      "  torchrun --no-python --nproc-per-node 2 ponder train recipes/r1_zero_tiny.toml\n"
      "  srun -n2 --kill-on-bad-exit=1 ponder train recipes/r1_zero_tiny.toml\n"
      "  torchrun --no-python --nproc-per-node 8 ponder train RECIPE.toml --device cuda");
  verb->callback([request, seed, device, dump, workers, &status] {
    if (!dump->empty()) {
      status = recipes::replay(*dump, stdout) ? 0 : 1;
      return;
    }
    if (request->recipe.empty()) throw CLI::RequiredError("recipe");
    if (!seed->empty()) request->overrides.push_back("seed=" + *seed);
    if (!device->empty()) request->overrides.push_back("training.device=" + *device);
    std::signal(SIGPIPE, SIG_IGN);  // a training outlives the reader of its progress
    if (*workers > 1 && !request->check_only) {
      status = train_on_workers(*request, *workers);
      return;
    }
    request->check_workers = *workers;
    const int signal = recipes::train(*request, stdout);
    status = signal == 0 ? 0 : 128 + signal;
  });
}

}  // namespace ponder::cli
