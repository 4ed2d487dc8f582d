#include "recipes/train.h"

#include <algorithm>
#include <functional>
#include <future>
#include <memory>
#include <span>

#include <unistd.h>

#include "core/error.h"
#include "core/metrics.h"
#include "core/progress.h"
#include "core/recipe.h"
#include "core/spelling.h"
#include "core/stop.h"
#include "core/timer.h"
#include "recipes/algorithms.h"
#include "recipes/best_step.h"
#include "recipes/dump.h"
#include "recipes/grpo_stage.h"
#include "recipes/options.h"
#include "recipes/pretrain_stage.h"
#include "recipes/report.h"
#include "recipes/run_folder.h"
#include "recipes/stage.h"
#include "recipes/summary.h"

namespace ponder::recipes {
namespace {

// A recipe read and checked: what the loop needs of it, and how to make its stage.
struct Loaded {
  std::string resolved;  // recipe.toml of the run
  EvalOptions eval;
  SaveOptions save;
  std::function<std::unique_ptr<Stage>()> make;
};

template <typename Recipe>
Loaded load_as(const core::Recipe& file, std::unique_ptr<Stage> (*make)(const Recipe&)) {
  Recipe recipe;
  if constexpr (std::is_same_v<Recipe, GrpoRecipe>)
    set_algorithm(recipe.grpo, file.peek("algorithm"));
  file.read(recipe);
  if (recipe.model_name_or_path.empty()) {
    core::throw_user("the recipe names no model: set model_name_or_path to a Hugging Face folder");
  }
  return {core::RecipeWriter::text_of(recipe), recipe.eval, recipe.save,
          [recipe, make] { return make(recipe); }};
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

// The loop over the steps that are left.
class Loop {
 public:
  Loop(const Loaded& recipe, Stage& stage, RunFolder& folder, int64_t resumed, int64_t last,
       std::FILE* out)
      : recipe_(recipe),
        stage_(stage),
        folder_(folder),
        first_(resumed + 1),
        last_(last),
        metrics_(folder.dir(), resumed > 0 ? resumed : -1),
        best_(recipe.save, folder.dir() / "metrics.jsonl"),
        progress_(out, ::isatty(::fileno(out)) != 0) {}

  // Returns the last step that was done.
  int64_t run() {
    if (first_ == 1) evaluate_start();
    for (int64_t step = first_; step <= last_; ++step) {
      one_step(step);
      const bool stopping = core::stop_requested();
      if (stopping || step == last_ || step % recipe_.save.save_steps == 0 || step == best_.step())
        save(step);
      if (stopping) last_ = step;
    }
    wait_for_save();
    return last_;
  }

 private:
  void evaluate_start() {
    const Metrics metrics = stage_.evaluate(0, folder_.evaluation_file(0), say());
    if (!metrics.empty()) metrics_.write(metrics, 0);
    best_.see_names(metrics);
  }

  void one_step(int64_t step) {
    const core::Stopwatch watch;
    Metrics metrics = stage_.step(step, {.completions_file = folder_.completions_file(step),
                                         .dumps_folder = folder_.dir() / "dumps",
                                         .say = say(),
                                         .before_update = [this] { wait_for_save(); }});
    if (step % recipe_.eval.eval_steps == 0 || step == stage_.num_steps()) {
      const core::Stopwatch evaluation;
      metrics.merge(stage_.evaluate(step, folder_.evaluation_file(step), say()));
      metrics["timing_s/eval"] = evaluation.seconds();
    }
    metrics["timing_s/save"] = save_seconds_;  // that this step waited for the checkpoint before it
    metrics_.write(metrics, step);
    best_.see_names(metrics);
    best_.observe(step, metrics);
    if (step == 1) best_.check_name();
    seconds_ += watch.seconds();
    core::StepLine line = stage_.line(metrics);
    line.step = step;
    line.num_steps = stage_.num_steps();
    line.eta_s =
        seconds_ / static_cast<double>(step - first_ + 1) * static_cast<double>(last_ - step);
    step_text_ = core::format_step(line);
    progress_.step(step_text_);
  }

  // The checkpoint is written while the next step samples: no weight changes till wait_for_save().
  void save(int64_t step) {
    metrics_.sync();
    saving_ = std::async(
        std::launch::async, [this, step, best = best_.step(), write = stage_.checkpoint(step)] {
          folder_.save_checkpoint(step, recipe_.save.save_total_limit, best, write);
        });
  }

  void wait_for_save() {
    const core::Stopwatch watch;
    if (saving_.valid()) saving_.get();
    save_seconds_ = watch.seconds();
  }

  Say say() {
    return [this](const std::string& what) {
      progress_.update(step_text_.empty() ? what : step_text_ + " · " + what);
    };
  }

  const Loaded& recipe_;
  Stage& stage_;
  RunFolder& folder_;
  int64_t first_, last_;
  core::MetricsLog metrics_;
  BestStep best_;
  core::Progress progress_;
  std::string step_text_;
  double seconds_ = 0, save_seconds_ = 0;
  std::future<void> saving_;  // its destructor waits
};

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

bool train(const TrainRequest& request, std::FILE* out) {
  const Loaded recipe = load(request);
  const std::unique_ptr<Stage> stage = recipe.make();
  if (request.check_only) {
    stage->check(out);
    fmt::print(out, "{}: the recipe, its model and its data are in order\n",
               request.recipe.string());
    return true;
  }
  const std::filesystem::path dir =
      request.run_dir.empty() ? "runs" / request.recipe.stem() : request.run_dir;
  RunFolder folder(dir, recipe.resolved);
  const int64_t resumed = folder.latest_step();
  folder.forget_after(resumed);
  warn_of_lost_metrics(folder, resumed);
  if (resumed > 0) stage->restore(folder.checkpoint(resumed));
  const int64_t total = stage->num_steps(),
                last = std::min(total, request.stop_at_step.value_or(total));
  const std::string what = resumed == total ? fmt::format("finished after {} steps:", total)
                           : resumed == 0   ? "training into"
                                            : fmt::format("going on after step {} in", resumed);
  fmt::print(out, "{} {}\n", what, dir.string());
  if (resumed == 0) fmt::print(out, "{}", stage->plan());
  int64_t done = resumed;
  if (resumed < last) {
    core::catch_stop_signals();
    done = Loop(recipe, *stage, folder, resumed, last, out).run();
  }
  finish(folder, out);
  if (done < total)
    fmt::print(out, "stopped after step {} of {}: the same command goes on from there\n", done,
               total);
  return !core::stop_requested();
}

}  // namespace ponder::recipes
