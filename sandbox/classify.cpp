#include "sandbox/classify.h"

#include <csignal>
#include <cstring>

#include <fmt/format.h>
#include <sys/wait.h>

namespace ponder::sandbox {

const char* verdict_code(Verdict verdict) {
  switch (verdict) {
    case Verdict::kAccepted:
      return "AC";
    case Verdict::kWrongAnswer:
      return "WA";
    case Verdict::kTimeLimit:
      return "TLE";
    case Verdict::kMemoryLimit:
      return "MLE";
    case Verdict::kOutputLimit:
      return "OLE";
    case Verdict::kRuntimeError:
      return "RE";
    case Verdict::kCompileError:
      return "CE";
    case Verdict::kSecurityViolation:
      return "SV";
    case Verdict::kInternalError:
      return "IE";
  }
  return "IE";
}

namespace {

void decide(const Outcome& outcome, const Limits& limits, bool own_binary, TestResult& result) {
  const auto say = [&](Verdict verdict, std::string reason) {
    result.verdict = verdict;
    result.reason = std::move(reason);
  };
  const int signal = result.signal.value_or(0);
  if (outcome.exec_failed && own_binary) return say(Verdict::kRuntimeError, outcome.error);
  if (!outcome.started || !outcome.error.empty()) {
    return say(Verdict::kInternalError,
               outcome.error.empty() ? "the box ended before the program began" : outcome.error);
  }
  if (outcome.stop == Stop::kOutput || outcome.out_cut || outcome.err_cut)
    return say(Verdict::kOutputLimit,
               fmt::format("more than {} bytes of output", limits.output_bytes));
  if (signal == SIGXFSZ)
    return say(Verdict::kOutputLimit,
               fmt::format("a file larger than {} bytes", limits.file_bytes));
  if (outcome.stop == Stop::kCpu || signal == SIGXCPU)
    return say(Verdict::kTimeLimit, fmt::format("more than {} s of CPU time", limits.cpu_s));
  if (outcome.stop == Stop::kWall)
    return say(Verdict::kTimeLimit, fmt::format("still running after {} s (CPU time {:.2f} s)",
                                                limits.wall_s, outcome.cpu_s));
  if (outcome.stop == Stop::kMemory || outcome.oom_kills > 0)
    return say(Verdict::kMemoryLimit,
               fmt::format("more than {} MiB of memory", limits.memory_bytes >> 20));
  if (signal == SIGSYS)
    return say(Verdict::kSecurityViolation, "killed for a forbidden system call interface");
  if (!outcome.has_status)
    return say(Verdict::kRuntimeError,
               outcome.stop == Stop::kNoLongerNeeded ? "stopped" : "ended without an exit status");
  if (signal != 0)
    return say(Verdict::kRuntimeError,
               fmt::format("killed by signal {} ({})", signal, strsignal(signal)));
  if (result.exit_code != 0)
    return say(Verdict::kRuntimeError, fmt::format("exit status {}", *result.exit_code));
  say(Verdict::kAccepted, "");
}

}  // namespace

TestResult classify(Outcome&& outcome, const Limits& limits, bool own_binary) {
  TestResult result;
  if (outcome.has_status && WIFEXITED(outcome.wait_status))
    result.exit_code = WEXITSTATUS(outcome.wait_status);
  if (outcome.has_status && WIFSIGNALED(outcome.wait_status))
    result.signal = WTERMSIG(outcome.wait_status);
  result.out_cut = outcome.out_cut;
  result.err_cut = outcome.err_cut;
  result.cpu_s = outcome.cpu_s;
  result.wall_s = outcome.wall_s;
  result.memory_peak_bytes = outcome.memory_peak_bytes;
  decide(outcome, limits, own_binary, result);
  result.out = std::move(outcome.out);
  result.err = std::move(outcome.err);
  return result;
}

}  // namespace ponder::sandbox
