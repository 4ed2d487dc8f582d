// What turns prompts into groups of completions, wherever it runs: the engine in this process, or a
// server.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "data/types.h"
#include "rollout/engine.h"

namespace ponder::rollout {

class Generator {
 public:
  virtual ~Generator() = default;
  // One group a prompt, in the prompts' order; prompts need token_ids. `on_completion` is called as
  // each completion ends, from the calling thread.
  virtual std::vector<data::Group> generate(const std::vector<data::Prompt>& prompts,
                                            const SampleOptions& options, int64_t policy_version,
                                            const OnCompletion& on_completion) = 0;
};

// The engine in this process. REQUIRES: it outlives this.
class LocalGenerator : public Generator {
 public:
  explicit LocalGenerator(Engine& engine) : engine_(engine) {}
  std::vector<data::Group> generate(const std::vector<data::Prompt>& prompts,
                                    const SampleOptions& options, int64_t policy_version,
                                    const OnCompletion& on_completion) override {
    return engine_.generate(prompts, options, policy_version, on_completion);
  }

 private:
  Engine& engine_;
};

}  // namespace ponder::rollout
