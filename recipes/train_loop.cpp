#include "recipes/train_loop.h"

#include <algorithm>
#include <utility>

#include <unistd.h>

#include "core/error.h"
#include "recipes/stopping.h"
#include "recipes/workers.h"
#include "rollout/not_finite.h"

namespace ponder::recipes {

Recorder::Recorder(const SaveOptions& save, RunFolder& folder, int64_t resumed, int64_t last,
                   std::FILE* out)
    : save_(save),
      folder_(folder),
      first_(resumed + 1),
      last_(last),
      metrics_(std::in_place, folder.dir(), resumed > 0 ? resumed : -1),
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
  if (!metrics.empty()) metrics_->write(metrics, 0);
  best_.see_names(metrics);
  watch_ = core::Stopwatch();
}

void Recorder::make_up(const Metrics& evaluation) {
  const int64_t step = first_ - 1;
  Metrics metrics = core::read_metrics(folder_.dir() / "metrics.jsonl").back().metrics;
  metrics.insert(evaluation.begin(), evaluation.end());
  metrics_.reset();
  metrics_.emplace(folder_.dir(), step - 1);
  metrics_->write(metrics, step);
  best_.see_names(metrics);
  best_.observe(step, metrics);
  watch_ = core::Stopwatch();
}

bool Recorder::step(int64_t step, const Metrics& metrics, core::StepLine line) {
  metrics_->write(metrics, step);
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
  metrics_->sync();
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

constexpr const char* kEvaluationTime = "timing_s/eval";

StepContext context_of(int64_t step, Recorder* recorder) {
  if (recorder != nullptr) return recorder->context(step);
  return {.say = [](const std::string&) {}, .before_update = [] {}};
}

// `sample`, which the weights after step `trained` do; where they no longer can, the error says so.
template <typename Sample>
auto with_weights_of(int64_t trained, const Sample& sample) {
  try {
    return sample();
  } catch (const rollout::NotFiniteLogits& error) {
    if (trained == 0) throw;
    core::throw_run(
        "training has diverged: with the weights after step {}, {}: lower optimizer.learning_rate "
        "and start anew with another --run; model_name_or_path = RUN/checkpoints/STEP starts from "
        "an earlier step's weights",
        trained, error.where());
  }
}

// With its time; none: cut off.
std::optional<Metrics> evaluate(Stage& stage, int64_t step, Recorder* recorder) {
  const core::Stopwatch watch;
  auto metrics = with_weights_of(step, [&] {
    return stage.evaluate(
        step, recorder != nullptr ? recorder->evaluation_file(step) : std::filesystem::path(),
        context_of(step, recorder).say);
  });
  if (metrics && step > 0) (*metrics)[kEvaluationTime] = watch.seconds();
  return metrics;
}

// One step with the evaluation that is due after it, unless a stop puts that off; machine's metrics
// are this worker's. None: cut off before its first update.
std::optional<Metrics> one_step(Stage& stage, distributed::Group& group, const LoopOptions& options,
                                int64_t step, Recorder* recorder) {
  auto metrics =
      with_weights_of(step - 1, [&] { return stage.step(step, context_of(step, recorder)); });
  if (!metrics) return std::nullopt;
  const bool due = step % options.eval_steps == 0 || step == stage.num_steps();
  if (due && agreed_stop(group) == 0) {
    if (auto evaluation = evaluate(stage, step, recorder)) metrics->merge(*evaluation);
  }
  // That this step waited for the checkpoint before it.
  if (recorder != nullptr) (*metrics)["timing_s/save"] = recorder->save_seconds();
  return metrics;
}

// What comes before the first step of a start; false: cut off.
bool evaluate_first(Stage& stage, const LoopOptions& options, Recorder* recorder) {
  if (options.resumed > 0 && !options.owed) return true;
  const auto metrics = evaluate(stage, options.resumed, recorder);
  if (!metrics) return false;
  if (recorder != nullptr && options.resumed == 0) recorder->start(*metrics);
  if (recorder != nullptr && options.resumed > 0) recorder->make_up(*metrics);
  return true;
}

void save(const Stage& stage, distributed::Group& group, int64_t step, Recorder* recorder) {
  group.doing("saving");
  const WriteCheckpoint write = stage.checkpoint(step);
  if (recorder != nullptr) recorder->save(step, write);
}

int64_t greatest(const std::vector<int64_t>& values) {
  return *std::max_element(values.begin(), values.end());
}

// Writes the step down on rank 0; whether it is the best so far, on all.
bool record(const Stage& stage, distributed::Group& group, int64_t step, const Metrics& metrics,
            Recorder* recorder) {
  bool best = false;
  if (recorder != nullptr) {
    core::StepLine line = stage.line(metrics);
    line.num_steps = stage.num_steps();
    best = recorder->step(step, metrics, line);
  }
  return greatest(group.all_values(best ? 1 : 0, "the best step")) > 0;
}

}  // namespace

bool owes_evaluation(const std::filesystem::path& metrics_file, int64_t resumed) {
  if (resumed == 0 || !std::filesystem::exists(metrics_file)) return false;
  const auto records = core::read_metrics(metrics_file);
  return !records.empty() && records.back().step == resumed &&
         !records.back().metrics.contains(kEvaluationTime);
}

LoopEnd run_loop(Stage& stage, distributed::Group& group, const LoopOptions& options,
                 Recorder* recorder) {
  LoopEnd end{.step = options.resumed, .stop_signal = agreed_stop(group)};
  if (end.stop_signal != 0) return end;
  if (!evaluate_first(stage, options, recorder)) {
    end.stop_signal = agreed_stop(group);
    return end;
  }
  int64_t saved = options.resumed;
  distributed::Traffic traffic = group.traffic();
  while (end.step < options.last && end.stop_signal == 0) {
    auto own = one_step(stage, group, options, end.step + 1, recorder);
    if (!own) {
      end.stop_signal = agreed_stop(group);
      break;
    }
    ++end.step;
    own->merge(traffic_metrics(group, traffic));
    const bool best = record(stage, group, end.step, reduce_metrics(group, *own), recorder);
    end.stop_signal = agreed_stop(group);
    if (end.step % options.save_steps != 0 && !best) continue;
    save(stage, group, end.step, recorder);
    saved = end.step;
  }
  if (saved < end.step) save(stage, group, end.step, recorder);
  if (recorder != nullptr) recorder->wait_for_save();
  return end;
}

}  // namespace ponder::recipes
