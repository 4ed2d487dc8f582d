// The metrics of a run: metrics.jsonl (one JSON object a step) and the same numbers as TensorBoard
// events. Knows nothing of what the numbers mean. Keys named timing_s/* and perf/* depend on the
// machine; all else is written so that equal doubles are equal bytes, and a run that was killed and
// resumed leaves the file of one that was not.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ponder::core {

class FileAppender;
class TensorBoardWriter;

// True for timing_s/*, perf/* and step_time, whose values differ from machine to machine and from
// run to run.
bool depends_on_machine(std::string_view key);

// One line of metrics.jsonl. A number that was not finite is written as null and read back as NaN.
struct StepRecord {
  int64_t step = 0;
  std::map<std::string, double> metrics;
};

// The line of a step, with its newline: "step" first, then the keys sorted; numbers in the shortest
// form that reads back as the same double; NaN and the infinities as null, since JSON has no word
// for them.
std::string metrics_line(const StepRecord& record);

// Every record of a metrics.jsonl, in order. A last line without its newline that is cut off is
// left out: the run was killed within it, or is still writing. Throws UserError "file:line: ..."
// for any other line that is no JSON object of numbers with an integer "step", or whose step is not
// above that of the line before.
std::vector<StepRecord> read_metrics(const std::filesystem::path& path);

// Writes RUN/metrics.jsonl and RUN/tensorboard/.
class MetricsLog {
 public:
  // Goes on after `resume_step`, the last step that the run's checkpoint has seen (-1: a run from
  // the start). Lines of later steps and a torn last line are dropped by an atomic rewrite; the
  // event files are made again from the lines that stay, with their old wall times. Creates
  // `run_dir` where missing. Throws UserError for a damaged file, RunError where a write fails.
  MetricsLog(const std::filesystem::path& run_dir, int64_t resume_step);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  // Appends the one line of `step` and its event; both are with the kernel when it returns.
  // REQUIRES: step is above every step in the file; no metric is named "step".
  void write(const std::map<std::string, double>& metrics, int64_t step);

  // Flushes the lines to the disk: before a checkpoint becomes the latest.
  void sync();

 private:
  int64_t last_step_;
  std::unique_ptr<FileAppender> file_;
  std::unique_ptr<TensorBoardWriter> events_;
};

}  // namespace ponder::core
