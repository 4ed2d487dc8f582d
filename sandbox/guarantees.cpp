#include <algorithm>
#include <sstream>

#include <fmt/format.h>

#include "core/error.h"
#include "sandbox/host.h"
#include "sandbox/supervise.h"

namespace ponder::sandbox {

namespace {

using State = Guarantee::State;

struct Promise {
  const char* name;
  const char* what;
  const char* findings;  // words of the probe, blank-separated, any of which breaks the promise
};

constexpr Promise kPromises[] = {
    {"network", "no network, not even the host's loopback", "socket"},
    {"files", "no file of the host but a read-only toolchain",
     "shadow host-files host-write device"},
    {"processes", "no other process visible, traceable or killable",
     "init-environ init-memory kill-init foreign-pid ptrace"},
    {"privileges", "no privilege, namespace, mount or dangerous system call",
     "proc-sys userns mount io-uring setuid"},
};

Outcome probe(Host& host, Slot& slot) {
  RunSpec spec;
  spec.kind = RunKind::kProbe;
  ActiveRun run(host.box(slot), spec, {}, Limits(), false);
  ActiveRun* const runs[] = {&run};
  supervise(runs);
  return run.take();
}

Guarantee judge_promise(const Promise& promise, const std::string& report) {
  std::string broken;
  std::istringstream words(promise.findings);
  for (std::string word; words >> word;)
    if (("\n" + report).find("\n" + word + "\n") != std::string::npos)
      broken += (broken.empty() ? "" : ", ") + word;
  if (broken.empty())
    return {promise.name, promise.what, State::kExact, "attacked from inside, refused"};
  return {promise.name, promise.what, State::kMissing, "these attacks worked: " + broken};
}

// How sums over all processes are kept: by the kernel, by sampling /proc, or not at all.
Guarantee sums(const char* name, const char* what, const CgroupLayout& layout, bool has_proc) {
  if (layout.version == CgroupLayout::Version::kV1) return {name, what, State::kExact, "cgroup v1"};
  if (layout.version == CgroupLayout::Version::kV2) return {name, what, State::kExact, "cgroup v2"};
  if (has_proc)
    return {name, what, State::kSampled,
            "summed up every 10 ms and limited per process: " + layout.why_none};
  return {name, what, State::kMissing,
          layout.why_none + ", and no /proc can be mounted in a box (the container masks it)"};
}

}  // namespace

std::vector<Guarantee> probe_guarantees(const Options& options) {
  std::vector<Guarantee> guarantees;
  Host host(options);
  Slot slot;
  Outcome outcome;
  try {
    outcome = probe(host, slot);
  } catch (const core::RunError& error) {
    return {{kIsolation, "programs run in kernel namespaces of their own", State::kMissing,
             error.what()}};
  }
  if (!outcome.started || !outcome.error.empty() || !outcome.has_status)
    return {{kIsolation, "programs run in kernel namespaces of their own", State::kMissing,
             outcome.error.empty() ? "the box ended by itself" : outcome.error}};
  guarantees.push_back({kIsolation, "programs run in kernel namespaces of their own", State::kExact,
                        "user, PID, mount, network, IPC, UTS and cgroup namespaces"});
  for (const auto& promise : kPromises)
    guarantees.push_back(judge_promise(promise, outcome.report));
  const bool has_proc = outcome.report.find("no-proc") == std::string::npos;
  const CgroupLayout& layout = host.boxes.layout;
  guarantees.push_back(
      sums("memory", "memory of all processes of a run together is bounded", layout, has_proc));
  guarantees.push_back(
      sums("cpu", "CPU time of all processes of a run together is bounded", layout, has_proc));
  Guarantee processes{"process-count", "processes and threads of a run are counted", State::kExact,
                      "cgroup"};
  if (layout.version == CgroupLayout::Version::kNone)
    processes.detail = "RLIMIT_NPROC in the box's own user namespace";
  guarantees.push_back(processes);
  return guarantees;
}

}  // namespace ponder::sandbox
