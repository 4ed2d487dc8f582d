// Programs of the code reward in boxes of sandbox/.
#pragma once

#include <memory>

#include "rewards/code.h"

namespace ponder::sandbox {
class Sandbox;
}

namespace ponder::rewards {

class SandboxRunner : public CodeRunner {
 public:
  // Throws UserError when this machine misses a guarantee of the sandbox.
  SandboxRunner();
  ~SandboxRunner() override;
  CodeResult run(const CodeJob& job, bool stop_early) const override;
  std::string problem_with(const CodeJob& job) const override;

 private:
  std::unique_ptr<sandbox::Sandbox> sandbox_;
};

}  // namespace ponder::rewards
