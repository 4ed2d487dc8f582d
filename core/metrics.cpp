#include "core/metrics.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/file.h"
#include "core/json_text.h"
#include "core/tensorboard.h"

namespace ponder::core {
namespace {

using Json = nlohmann::json;

double now_s() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// TensorBoard gets NaN for every number that metrics.jsonl holds as null, so that the two tell the
// same story and event files made again from the lines equal the first ones.
std::map<std::string, double> as_logged(std::map<std::string, double> metrics) {
  for (auto& [name, value] : metrics) {
    if (!std::isfinite(value)) value = std::numeric_limits<double>::quiet_NaN();
  }
  return metrics;
}

StepRecord parse_record(std::string_view line, const std::string& place) {
  const Json object = parse_json_or_discard<Json>(line);
  if (object.is_discarded())
    throw_user("{}: expected one JSON object a line, found text that is no JSON", place);
  if (!object.is_object())
    throw_user("{}: expected a JSON object, found {}", place, object.type_name());
  const auto step = object.find("step");
  if (step == object.end() || !step->is_number_integer())
    throw_user("{}: expected an integer \"step\"", place);
  StepRecord record{step->get<int64_t>(), {}};
  for (const auto& [name, value] : object.items()) {
    if (name == "step") continue;
    if (!value.is_number() && !value.is_null()) {
      throw_user("{}: metric \"{}\": expected a number or null, found {}", place, name,
                 value.type_name());
    }
    record.metrics[name] =
        value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
  }
  return record;
}

struct Line {
  std::string_view text;  // without its newline
  StepRecord record;
};

// The lines of `content`; `path` names the place in errors.
std::vector<Line> parse_lines(std::string_view content, const std::filesystem::path& path) {
  std::vector<Line> lines;
  for (int64_t number = 1; !content.empty(); ++number) {
    const size_t end = content.find('\n');
    const std::string_view text = content.substr(0, end);
    const bool is_ended = end != std::string_view::npos;
    content.remove_prefix(is_ended ? end + 1 : content.size());
    if (!is_ended && !Json::accept(text)) break;
    const std::string place = fmt::format("{}:{}", path.string(), number);
    StepRecord record = parse_record(text, place);
    if (!lines.empty() && record.step <= lines.back().record.step) {
      throw_user("{}: expected a step above {}, found {}", place, lines.back().record.step,
                 record.step);
    }
    lines.push_back({text, std::move(record)});
  }
  return lines;
}

// Makes the events again in a folder beside, puts it in place of the old one and returns the
// writer, whose open file the rename does not disturb. Killed on the way, the next construction
// does it anew.
std::unique_ptr<TensorBoardWriter> rewrite_events(const std::filesystem::path& folder,
                                                  const std::vector<StepRecord>& records) {
  const std::map<int64_t, double> old_times = read_event_times(folder);
  const std::filesystem::path fresh = folder.string() + ".part";
  std::filesystem::remove_all(fresh);
  auto writer = std::make_unique<TensorBoardWriter>(fresh);
  for (const StepRecord& record : records) {
    const auto known = old_times.find(record.step);
    writer->add_scalars(record.step, known == old_times.end() ? now_s() : known->second,
                        record.metrics);
  }
  std::filesystem::remove_all(folder);
  std::filesystem::rename(fresh, folder);
  return writer;
}

}  // namespace

bool depends_on_machine(std::string_view key) {
  return key.starts_with("timing_s/") || key.starts_with("perf/") || key == "step_time";
}

std::string metrics_line(const StepRecord& record) {
  std::string line = fmt::format("{{\"step\":{}", record.step);
  for (const auto& [name, value] : record.metrics) {
    line += fmt::format(",{}:", Json(name).dump());
    line += std::isfinite(value) ? fmt::format("{}", value) : "null";
  }
  return line + "}\n";
}

std::vector<StepRecord> read_metrics(const std::filesystem::path& path) {
  const std::string content = read_file(path, "metrics file");
  std::vector<StepRecord> records;
  for (Line& line : parse_lines(content, path)) records.push_back(std::move(line.record));
  return records;
}

MetricsLog::MetricsLog(const std::filesystem::path& run_dir, int64_t resume_step) : last_step_(-1) {
  const std::filesystem::path path = run_dir / "metrics.jsonl";
  try {
    std::filesystem::create_directories(run_dir);
    const std::string old = std::filesystem::exists(path) ? read_file(path, "metrics file") : "";
    std::string kept;
    std::vector<StepRecord> records;
    for (Line& line : parse_lines(old, path)) {
      if (line.record.step > resume_step) break;
      kept.append(line.text).append("\n");
      records.push_back(std::move(line.record));
    }
    if (!records.empty()) last_step_ = records.back().step;
    if (kept != old) write_file_atomic(path, kept);
    file_ = std::make_unique<FileAppender>(path);
    events_ = rewrite_events(run_dir / "tensorboard", records);
  } catch (const std::filesystem::filesystem_error& error) {
    throw_run("cannot set up the metrics of the run {}: {}", run_dir.string(), error.what());
  }
}

MetricsLog::~MetricsLog() = default;

void MetricsLog::sync() {
  file_->sync();
}

void MetricsLog::write(const std::map<std::string, double>& metrics, int64_t step) {
  PONDER_CHECK(step > last_step_, "[metrics] expected a step above {}, got {}", last_step_, step);
  PONDER_CHECK(!metrics.contains("step"), "[metrics] a metric is named \"step\"");
  file_->append(metrics_line({step, metrics}));
  events_->add_scalars(step, now_s(), as_logged(metrics));
  last_step_ = step;
}

}  // namespace ponder::core
