// Wall-clock seconds by phase, for the timing_s/* metrics.
#pragma once

#include <chrono>
#include <map>
#include <string>

namespace ponder::core {

// Seconds since construction.
class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Adds the seconds of its own lifetime to `seconds[phase]`. REQUIRES: the map outlives it.
class PhaseTimer {
 public:
  PhaseTimer(std::map<std::string, double>& seconds, std::string phase)
      : seconds_(seconds), phase_(std::move(phase)) {}
  ~PhaseTimer() { seconds_[phase_] += watch_.seconds(); }
  PhaseTimer(const PhaseTimer&) = delete;
  PhaseTimer& operator=(const PhaseTimer&) = delete;

 private:
  std::map<std::string, double>& seconds_;
  std::string phase_;
  Stopwatch watch_;
};

}  // namespace ponder::core
