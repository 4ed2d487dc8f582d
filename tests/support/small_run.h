// The demo's recipe cut down to seconds, and what of a run must be the same bits every time.
#pragma once

#include <string>
#include <vector>

#include "core/metrics.h"
#include "tests/support/process.h"

namespace ponder::test {

inline const std::string kPonder = PONDER_BINARY_DIR "/ponder";

inline std::vector<std::string> small_run(const std::filesystem::path& dir,
                                          std::vector<std::string> more = {}) {
  std::vector<std::string> words = {kPonder,
                                    "train",
                                    "recipes/r1_zero_tiny.toml",
                                    "--run",
                                    dir.string(),
                                    "grpo.max_steps=6",
                                    "grpo.prompts_per_step=4",
                                    "grpo.num_generations=4",
                                    "eval.num_prompts=16",
                                    "eval.eval_steps=3"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

// metrics.jsonl without what depends on the machine.
inline std::string stable_metrics(const std::filesystem::path& run) {
  std::string text;
  for (core::StepRecord record : core::read_metrics(run / "metrics.jsonl")) {
    std::erase_if(record.metrics,
                  [](const auto& entry) { return core::depends_on_machine(entry.first); });
    text += core::metrics_line(record);
  }
  return text;
}

}  // namespace ponder::test
