// Programs of the code reward in boxes of sandbox/.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "rewards/code.h"

namespace ponder::sandbox {
class Sandbox;
}

namespace ponder::rewards {

class SandboxRunner : public CodeRunner {
 public:
  // Throws UserError when this machine misses a guarantee of the sandbox, or its Python does not
  // work: that runs the programs, and judges functions of any language. Other languages are checked
  // by problem_with(), when a job first asks for them.
  SandboxRunner();
  ~SandboxRunner() override;
  CodeResult run(const CodeJob& job, bool stop_early) const override;
  std::string problem_with(const CodeJob& job) const override;

 private:
  std::string problem_with_language(const std::string& language) const;
  std::unique_ptr<sandbox::Sandbox> sandbox_;
  mutable std::mutex mutex_;                            // of checked_
  mutable std::map<std::string, std::string> checked_;  // language -> what is wrong with it, or ""
};

}  // namespace ponder::rewards
