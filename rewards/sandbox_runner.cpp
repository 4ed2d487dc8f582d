#include "rewards/sandbox_runner.h"

#include "core/error.h"
#include "sandbox/request_json.h"
#include "sandbox/sandbox.h"

namespace ponder::rewards {
namespace {

sandbox::Request request_of(const CodeJob& job, bool stop_early) {
  // The limits are read by sandbox's own reader, so that their names and ranges are the same
  // everywhere.
  sandbox::Request request = sandbox::request_from_json(
      {{"language", job.language}, {"mode", "stdin"}, {"code", job.code}, {"limits", job.limits}});
  request.run_all_tests = !stop_early;
  if (job.cases.empty()) {
    request.function =
        sandbox::FunctionTests{job.entry_point, job.assertions, job.setup, job.pairs_json};
    return request;
  }
  request.tests.clear();
  for (const auto& test : job.cases)
    request.tests.push_back({test.input, std::nullopt});  // compared by tokens, in CodeReward
  return request;
}

}  // namespace

SandboxRunner::SandboxRunner() : sandbox_(std::make_unique<sandbox::Sandbox>()) {
  sandbox_->check_language("python");
  checked_["python"] = "";
}
SandboxRunner::~SandboxRunner() = default;

std::string SandboxRunner::problem_with_language(const std::string& language) const {
  const std::lock_guard lock(mutex_);
  const auto [entry, first] = checked_.try_emplace(language);
  if (!first) return entry->second;
  try {
    sandbox_->check_language(language);
  } catch (const core::UserError& error) {
    entry->second = error.what();
  } catch (...) {
    checked_.erase(entry);  // the machine's fault, for now: asked again
    throw;
  }
  return entry->second;
}

std::string SandboxRunner::problem_with(const CodeJob& job) const {
  try {
    return problem_with_language(request_of(job, true).language);
  } catch (const core::UserError& error) {
    return error.what();
  }
}

CodeResult SandboxRunner::run(const CodeJob& job, bool stop_early) const {
  const sandbox::Result got = sandbox_->run(request_of(job, stop_early));
  CodeResult out;
  out.reason = got.reason;
  out.runner_failed = got.verdict == sandbox::Verdict::kInternalError;
  for (const auto& test : got.tests)
    out.tests.push_back({sandbox::verdict_code(test.verdict), test.out});
  if (out.tests.empty()) out.tests.push_back({sandbox::verdict_code(got.verdict), got.out});
  return out;
}

}  // namespace ponder::rewards
