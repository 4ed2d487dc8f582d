// Watches runs from outside: reads what they write, measures what they use, stops them at their
// limits, and waits until the last process of each is dead. Knows limits, not verdicts.
#pragma once

#include <chrono>
#include <span>
#include <string>

#include "sandbox/sandbox.h"
#include "sandbox/worker.h"

namespace ponder::sandbox {

enum class Stop { kNone, kCpu, kWall, kMemory, kOutput, kNoLongerNeeded, kBoxFailed };

struct Outcome {
  bool started = false;      // false: set-up failed before any untrusted instruction, see `error`
  bool exec_failed = false;  // ... at the exec itself
  std::string error;
  Stop stop = Stop::kNone;
  bool has_status = false;  // the main process ended by itself, with wait status `wait_status`
  int wait_status = 0;
  std::string collect_error;  // why the output file could not be taken
  std::string report;         // of a probe
  std::string out, err, extra;
  bool out_cut = false, err_cut = false;
  double cpu_s = 0, wall_s = 0;
  uint64_t memory_peak_bytes = 0, oom_kills = 0;
};

// One run in progress. The descriptors that a RunSpec names are passed by number and stay the
// caller's.
class ActiveRun {
 public:
  // Prepares pipes, counters and limits, and launches. `spec.num_extra` and files are taken from
  // `extra` and `files`.
  struct Inputs {
    int in = -1;  // -1: /dev/null
    int binary = -1;
    std::vector<int> extra, files;
    int collect = -1;
    bool verdict_channel =
        false;  // one more pipe, appended to extra; what comes through it is Outcome::extra
  };
  ActiveRun(Worker& worker, RunSpec spec, const Inputs& inputs, const Limits& limits, bool warm);

  bool done() const { return done_; }
  void stop(Stop why);
  Outcome take() { return std::move(outcome_); }

 private:
  friend void supervise(std::span<ActiveRun* const> runs);
  using Clock = std::chrono::steady_clock;
  void on_status();
  void read_stream(Fd& fd, std::string& text, bool& cut, uint64_t bytes_max);
  void check_limits(Clock::time_point now);
  void conclude();

  Worker& worker_;
  Limits limits_;
  bool watch_;
  Fd status_, out_, err_, extra_, pid_;
  Clock::time_point launched_, started_, killed_, next_sample_;
  bool done_ = false, dead_ = false;
  uint64_t sampled_cpu_ns_ = 0, reported_cpu_ns_ = 0, sampled_peak_bytes_ = 0,
           reported_peak_bytes_ = 0;
  bool extra_cut_ = false;
  Outcome outcome_;
};

// Returns when all are done. As soon as the last of them, the judge, ends, those before it are
// stopped.
void supervise(std::span<ActiveRun* const> runs);

}  // namespace ponder::sandbox
