// A small run on several workers, and waiting for its steps.
#pragma once

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/small_run.h"

namespace ponder::test {

// Without --workers: a launcher starts these words.
inline std::vector<std::string> worker_run(const std::filesystem::path& run,
                                           std::vector<std::string> more = {}) {
  more.insert(more.begin(), "grpo.max_steps=3");
  return small_run(run, more);
}

inline std::vector<core::StepRecord> metrics_of(const std::filesystem::path& run) {
  return core::read_metrics(run / "metrics.jsonl");
}

// False where that takes more than a minute.
inline bool wait_for_steps(const std::filesystem::path& run, int64_t steps) {
  for (int i = 0; i < 6000; ++i) {
    if (std::filesystem::exists(run / "metrics.jsonl")) {
      const auto records = metrics_of(run);
      if (!records.empty() && records.back().step >= steps) return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

// The processes that train into this run's folder, zombies left out.
inline std::vector<int> processes_of(const std::filesystem::path& run) {
  const Outcome found =
      test::run({"pgrep", "-r", "D,R,S,T", "-f", "ponder train.*" + run.string()});
  std::istringstream text(found.out);
  std::vector<int> pids;
  for (int pid = 0; text >> pid;) pids.push_back(pid);
  return pids;
}

// The one of them whose environment holds `variable` ("RANK=1"); 0 where there is none.
inline int process_with(const std::filesystem::path& run, const std::string& variable) {
  for (const int pid : processes_of(run)) {
    const std::string environment = '\0' + read_text("/proc/" + std::to_string(pid) + "/environ");
    if (environment.find('\0' + variable + '\0') != std::string::npos) return pid;
  }
  return 0;
}

}  // namespace ponder::test
