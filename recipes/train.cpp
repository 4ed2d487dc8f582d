#include "recipes/train.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <span>

#include "core/error.h"
#include "core/metrics.h"
#include "core/recipe.h"
#include "core/spelling.h"
#include "core/stop.h"
#include "distributed/group.h"
#include "distributed/launch.h"
#include "recipes/algorithms.h"
#include "recipes/dump.h"
#include "recipes/grpo_stage.h"
#include "recipes/options.h"
#include "recipes/pretrain_stage.h"
#include "recipes/report.h"
#include "recipes/run_folder.h"
#include "recipes/stage.h"
#include "recipes/summary.h"
#include "recipes/train_loop.h"
#include "recipes/worker_log.h"
#include "recipes/workers.h"

namespace ponder::recipes {
namespace {

// A recipe read and checked: what the loop needs of it, and how to make its stage.
struct Loaded {
  std::string resolved;  // recipe.toml of the run
  EvalOptions eval;
  SaveOptions save;
  DeviceKind device = DeviceKind::kCpu;
  std::function<std::unique_ptr<Stage>(distributed::Group&)> make;
};

template <typename Recipe>
Loaded load_as(const core::Recipe& file,
               std::unique_ptr<Stage> (*make)(const Recipe&, distributed::Group&)) {
  Recipe recipe;
  if constexpr (std::is_same_v<Recipe, GrpoRecipe>)
    set_algorithm(recipe.grpo, file.peek("algorithm"));
  file.read(recipe);
  if (recipe.model_name_or_path.empty()) {
    core::throw_user("the recipe names no model: set model_name_or_path to a Hugging Face folder");
  }
  return {core::RecipeWriter::text_of(recipe), recipe.eval, recipe.save, recipe.training.device,
          [recipe, make](distributed::Group& group) { return make(recipe, group); }};
}

Loaded load(const TrainRequest& request) {
  const core::Recipe file = core::Recipe::from_file(request.recipe, request.overrides);
  const std::string stage = file.peek("stage");
  if (stage == "grpo") return load_as<GrpoRecipe>(file, make_grpo_stage);
  if (stage == "pretrain") return load_as<PretrainRecipe>(file, make_pretrain_stage);
  const std::vector<std::string> known = {"grpo", "pretrain"};
  if (stage.empty())
    core::throw_user("{}: the key stage is missing, expected one of: grpo, pretrain",
                     request.recipe.string());
  core::throw_user("{}: stage: unknown stage '{}'{}", request.recipe.string(), stage,
                   core::suggestion(stage, known));
}

void print_summary(const RunFolder& folder, std::FILE* out) {
  const auto records = core::read_metrics(folder.dir() / "metrics.jsonl");
  int64_t evaluated = 0;
  for (const core::StepRecord& record : records) {
    if (record.metrics.contains("eval/accuracy")) evaluated = record.step;
  }
  const std::string table = before_after_table(records);
  if (table.empty()) return;
  fmt::print(out, "\n{}\n{}\n", table,
             side_by_side(folder.evaluation_file(0), folder.evaluation_file(evaluated)));
}

// The summary and the report. The training is done and saved by now: what hinders them is a
// warning.
void finish(const RunFolder& folder, std::FILE* out) {
  try {
    print_summary(folder, out);
    const std::filesystem::path report = folder.dir() / "report.html";
    write_report(std::span(&folder.dir(), 1), report);
    fmt::print(out, "report: {}\n", report.string());
  } catch (const std::exception& error) {
    fmt::print(stderr, "ponder: warning: the run is saved, but its report could not be made: {}\n",
               error.what());
  }
}

// A resume goes by the checkpoint; metrics that a power failure took are missed here.
void warn_of_lost_metrics(const RunFolder& folder, int64_t resumed) {
  const std::filesystem::path path = folder.dir() / "metrics.jsonl";
  int64_t last = -1;
  if (std::filesystem::exists(path)) {
    for (const core::StepRecord& record : core::read_metrics(path)) last = record.step;
  }
  if (resumed > 0 && last < resumed) {
    fmt::print(stderr,
               "ponder: warning: {} ends at step {}, the checkpoint is of step {}: the lines "
               "between are lost\n",
               path.string(), last, resumed);
  }
}

}  // namespace

bool replay(const std::filesystem::path& dump, std::FILE* out) {
  return replay_dump(dump, out);
}

void check_recipe(const TrainRequest& request, int workers) {
  check_device(load(request).device, workers);
}

namespace {

void check(const Loaded& recipe, const TrainRequest& request, std::FILE* out) {
  distributed::Group alone = distributed::Group::alone();
  recipe.make(alone)->check(request.check_workers, out);
  fmt::print(out, "{}: the recipe, its model and its data are in order\n", request.recipe.string());
}

// Opens the run's folder on rank 0 and tells the others where it is and how far the run got.
struct Place {
  std::unique_ptr<RunFolder> folder;  // rank 0's
  std::filesystem::path dir;
  int64_t resumed = 0;
  bool owed = false;  // an evaluation, if one was due
};

Place open_place(const Loaded& recipe, const TrainRequest& request, distributed::Group& group) {
  Place place;
  place.dir = request.run_dir.empty() ? "runs" / request.recipe.stem() : request.run_dir;
  if (group.rank() == 0) {
    place.folder = std::make_unique<RunFolder>(place.dir, recipe.resolved);
    place.resumed = place.folder->latest_step();
    place.folder->forget_after(place.resumed);
    warn_of_lost_metrics(*place.folder, place.resumed);
    place.owed = owes_evaluation(place.dir / "metrics.jsonl", place.resumed);
  }
  if (group.size() == 1) return place;
  const auto all =
      group.all_gather(std::filesystem::absolute(place.dir).string(), "the run folder");
  place.resumed = group.all_values(place.resumed, "the step to go on from")[0];
  place.owed = group.all_values(place.owed ? 1 : 0, "an evaluation to make up for")[0] != 0;
  if (group.rank() > 0) place.dir = all[0];
  return place;
}

void greet(const Place& place, const Stage& stage, const distributed::Group& group,
           std::FILE* out) {
  const int64_t total = stage.num_steps();
  const std::string what = place.resumed == total ? fmt::format("finished after {} steps:", total)
                           : place.resumed == 0
                               ? "training into"
                               : fmt::format("going on after step {} in", place.resumed);
  const std::string workers = group.size() > 1 ? fmt::format(", {} workers", group.size()) : "";
  fmt::print(out, "{} {}{}\n", what, place.dir.string(), workers);
  if (place.resumed == 0) fmt::print(out, "{}", stage.plan());
}

int run(const Loaded& recipe, const TrainRequest& request, distributed::Group& group,
        WorkerLog& log, std::FILE* out) {
  group.doing("loading model and data");
  share_cores(group);
  const std::unique_ptr<Stage> stage = recipe.make(group);
  const Place place = open_place(recipe, request, group);
  log.move_to(place.dir);
  if (place.resumed > 0) stage->restore(RunFolder::checkpoint(place.dir, place.resumed));
  const int64_t total = stage->num_steps();
  const bool due = place.resumed % recipe.eval.eval_steps == 0 || place.resumed == total;
  const LoopOptions options{.resumed = place.resumed,
                            .owed = due && place.owed,
                            .last = std::min(total, request.stop_at_step.value_or(total)),
                            .eval_steps = recipe.eval.eval_steps,
                            .save_steps = recipe.save.save_steps};
  if (place.folder) greet(place, *stage, group, out);
  LoopEnd end{.step = options.resumed};
  if (options.resumed < options.last || options.owed) {
    core::catch_stop_signals();
    std::unique_ptr<Recorder> recorder;
    if (place.folder) {
      recorder = std::make_unique<Recorder>(recipe.save, *place.folder, options.resumed,
                                            options.last, out);
    }
    end = run_loop(*stage, group, options, recorder.get());
  }
  if (place.folder && std::filesystem::exists(place.dir / "metrics.jsonl"))
    finish(*place.folder, out);
  if (place.folder && end.step < total)
    fmt::print(out, "stopped after step {} of {}: the same command goes on from there\n", end.step,
               total);
  group.barrier("the end");  // a launcher ends all workers when it sees the first one end
  return end.stop_signal;
}

}  // namespace

namespace {

// Rank 0's console tells of a failure, but for a rank 0 that is missing, or ended by its launcher
// before it heard of it. A user's error is the same on all of them, or rank 0 repeats it.
void tell_console(const distributed::Group& group, const WorkerLog& log,
                  const std::exception& error) {
  if (group.failed() ? !group.root_silent()
                     : dynamic_cast<const core::UserError*>(&error) != nullptr)
    return;
  const std::string text = error.what();
  const std::string own = fmt::format("rank {} of {}: ", group.rank(), group.size());
  log.tell_console(text.starts_with(own) ? text : own + text);
}

}  // namespace

int train(const TrainRequest& request, std::FILE* out) {
  const Loaded recipe = load(request);
  const distributed::Worker worker = distributed::worker_from_environment();
  if (worker.world_size > 1) core::catch_stop_signals();  // a launcher counts on what they return
  const OpenDevice device = open_device(recipe.device, worker);
  if (request.check_only) {
    check(recipe, request, out);
    return 0;
  }
  distributed::Group group = distributed::Group::join(
      worker, {.timeout_s = request.timeout_s, .device_backend = device.backend});
  WorkerLog log(group.rank());
  try {
    check_own_gpus(group, device);
    return run(recipe, request, group, log, out);
  } catch (const std::exception& error) {
    tell_console(group, log, error);
    group.give_up(error.what());
    throw;
  }
}

}  // namespace ponder::recipes
