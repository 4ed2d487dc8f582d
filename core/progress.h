// The progress of a run for a person: one line that is rewritten in place on a terminal, plain
// lines elsewhere. Knows nothing of what is measured but the words of the step line.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace ponder::core {

// What one step's line says. What is absent (or not finite) is left out of the line.
struct StepLine {
  int64_t step = 0;       // steps done
  int64_t num_steps = 0;  // of how many; 0: unknown, left out
  std::optional<double> loss = {};
  std::optional<double> reward = {};
  std::optional<double> accuracy = {};  // share, 0..1; printed in per cent
  std::optional<double> mean_length = {};
  std::optional<double> kl = {};
  std::optional<double> entropy = {};
  std::optional<double> tokens_per_s = {};
  std::optional<double> eta_s = {};
};

// "step 12/40 · reward 0.83 · accuracy 71 % · length 25.1 · KL 0.012 · entropy 0.31 · 61k tok/s ·
// ETA 0:43"
std::string format_step(const StepLine& line);

// "0:43", "12:05", "1:02:03", "3 d 04:05:06"; rounded to seconds. "?" where `seconds` is negative
// or not finite.
std::string format_duration(double seconds);

// "950", "61k", "1.2M", "3.4G": a count to two or three digits. REQUIRES: value >= 0.
std::string format_count(double value);

// The first `columns` characters of `text`, the last of them "…" where some were cut; control
// characters become spaces. Every code point counts as one column.
std::string fit_line(std::string_view text, int columns);

// Writes to a stream that it does not own. On a terminal the live line is the last line of the
// screen: cut to the terminal's width, rewritten at most ten times a second, cleared and drawn
// again around permanent lines. Elsewhere only step() and print() write, one line each, without
// control characters. A write that fails is not an error: a lost line of progress must not end a
// run. Not thread-safe.
class Progress {
 public:
  using Clock = std::function<double()>;  // seconds, monotonic

  // `clock` is for tests; empty: the steady clock.
  Progress(std::FILE* out, bool is_terminal, Clock clock = {});
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // A step is done. Terminal: the new live line. Elsewhere: a line.
  void step(std::string_view line);

  // What happens within a step ("sampling 120/256"). Terminal: the live line. Elsewhere: nothing.
  void update(std::string_view line);

  // A permanent line, above the live one; on a terminal it is not cut.
  void print(std::string_view line);

  // The live line as it last was stays as a permanent line. The destructor does the same.
  void finish();

 private:
  void draw();
  void clear();

  std::FILE* out_;
  bool is_terminal_;
  Clock clock_;
  std::string live_;        // empty: no live line
  double drawn_at_s_ = -1;  // when the live line was last drawn; -1: never
  bool is_on_screen_ = false;
};

}  // namespace ponder::core
