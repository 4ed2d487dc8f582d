#include "recipes/train_loop.h"

#include <algorithm>
#include <utility>

#include <unistd.h>

#include "core/stop.h"
#include "recipes/workers.h"

namespace ponder::recipes {

Recorder::Recorder(const SaveOptions& save, RunFolder& folder, int64_t resumed, int64_t last,
                   std::FILE* out)
    : save_(save),
      folder_(folder),
      first_(resumed + 1),
      last_(last),
      metrics_(folder.dir(), resumed > 0 ? resumed : -1),
      best_(save, folder.dir() / "metrics.jsonl"),
      progress_(out, ::isatty(::fileno(out)) != 0) {}

StepContext Recorder::context(int64_t step) {
  return {.completions_file = folder_.completions_file(step),
          .dumps_folder = folder_.dir() / "dumps",
          .say = say(),
          .before_update = [this] { wait_for_save(); }};
}

std::filesystem::path Recorder::evaluation_file(int64_t step) const {
  return folder_.evaluation_file(step);
}

Say Recorder::say() {
  return [this](const std::string& what) {
    progress_.update(step_text_.empty() ? what : step_text_ + " · " + what);
  };
}

void Recorder::start(const Metrics& metrics) {
  if (!metrics.empty()) metrics_.write(metrics, 0);
  best_.see_names(metrics);
  watch_ = core::Stopwatch();
}

bool Recorder::step(int64_t step, const Metrics& metrics, core::StepLine line) {
  metrics_.write(metrics, step);
  best_.see_names(metrics);
  best_.observe(step, metrics);
  if (step == 1) best_.check_name();
  line.step = step;
  line.eta_s =
      watch_.seconds() / static_cast<double>(step - first_ + 1) * static_cast<double>(last_ - step);
  step_text_ = core::format_step(line);
  progress_.step(step_text_);
  return step == best_.step();
}

void Recorder::save(int64_t step, WriteCheckpoint write) {
  metrics_.sync();
  saving_ =
      std::async(std::launch::async, [this, step, best = best_.step(), write = std::move(write)] {
        folder_.save_checkpoint(step, save_.save_total_limit, best, write);
      });
}

void Recorder::wait_for_save() {
  const core::Stopwatch watch;
  if (saving_.valid()) saving_.get();
  save_seconds_ = watch.seconds();
}

namespace {

// One step with the evaluation that is due after it; machine's metrics are this worker's.
Metrics one_step(Stage& stage, const LoopOptions& options, int64_t step, Recorder* recorder) {
  const StepContext context =
      recorder != nullptr ? recorder->context(step)
                          : StepContext{.say = [](const std::string&) {}, .before_update = [] {}};
  Metrics metrics = stage.step(step, context);
  if (step % options.eval_steps == 0 || step == stage.num_steps()) {
    const core::Stopwatch evaluation;
    metrics.merge(stage.evaluate(
        step, recorder != nullptr ? recorder->evaluation_file(step) : std::filesystem::path(),
        context.say));
    metrics["timing_s/eval"] = evaluation.seconds();
  }
  // That this step waited for the checkpoint before it.
  if (recorder != nullptr) metrics["timing_s/save"] = recorder->save_seconds();
  return metrics;
}

void evaluate_start(Stage& stage, Recorder* recorder) {
  const Metrics metrics = recorder != nullptr
                              ? stage.evaluate(0, recorder->evaluation_file(0), recorder->say())
                              : stage.evaluate(0, {}, [](const std::string&) {});
  if (recorder != nullptr) recorder->start(metrics);
}

int64_t greatest(const std::vector<int64_t>& values) {
  return *std::max_element(values.begin(), values.end());
}

}  // namespace

LoopEnd run_loop(Stage& stage, distributed::Group& group, const LoopOptions& options,
                 Recorder* recorder) {
  if (options.resumed == 0) evaluate_start(stage, recorder);
  LoopEnd end{.step = options.resumed};
  distributed::Traffic traffic = group.traffic();
  while (end.step < options.last && end.stop_signal == 0) {
    const int64_t step = ++end.step;
    Metrics own = one_step(stage, options, step, recorder);
    own.merge(traffic_metrics(group, traffic));
    const Metrics metrics = reduce_metrics(group, own);
    bool best = false;
    if (recorder != nullptr) {
      core::StepLine line = stage.line(metrics);
      line.num_steps = stage.num_steps();
      best = recorder->step(step, metrics, line);
    }
    end.stop_signal =
        static_cast<int>(greatest(group.all_values(core::stop_signal(), "the stop signal")));
    best = greatest(group.all_values(best ? 1 : 0, "the best step")) > 0;
    if (end.stop_signal == 0 && step < options.last && step % options.save_steps != 0 && !best)
      continue;
    group.doing("saving");
    const WriteCheckpoint write = stage.checkpoint(step);
    if (recorder != nullptr) recorder->save(step, write);
  }
  if (recorder != nullptr) recorder->wait_for_save();
  return end;
}

}  // namespace ponder::recipes
