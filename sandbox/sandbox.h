// Runs one untrusted program under limits and says what happened. The program may be hostile:
// reinforcement learning pays for every hole. Knows nothing of rewards, models or data sets. Linux
// only; as root it drops to an unprivileged user first, as an ordinary user it needs user
// namespaces. Nothing is installed: the trusted helper travels inside the library.
//
// What is covered (each point has a test that attacks it):
//  - no network, not even the host's loopback: no socket can be made, and the network namespace is
//  empty;
//  - no file of the host is visible but a read-only toolchain (/usr, the interpreter's prefix, the
//  loader's cache);
//  - /tmp and /dev/shm are private, bounded in bytes and inodes, and gone with the run; every run
//  starts from nothing;
//  - no other process is visible, signalable or traceable; all descendants are dead before the
//  verdict is out, and when
//    ponder itself is killed; no capability, no new privilege, no namespace, no mount, no foreign
//    system call ABI;
//  - CPU time, memory and process count are bounded for all processes of a run together, wall time,
//  output bytes, file size,
//    disk, inodes, open files, stack and locked memory too; compilers run under the same rules;
//  - what the host and other runs do with files that all can see cannot be watched (no inotify, no
//  fanotify, no F_NOTIFY) nor signalled through them (no flock);
//  - nothing that outlives a process or is shared between runs: no System V IPC, message queue,
//  key; kernel interfaces that pass the filter by (io_uring, bpf,
//  userfaultfd, perf) are closed;
//  - environment, inputs still to come, expected outputs, tests and the verdict channel are out of
//  the program's reach:
//    output is compared here; function tests run in another box and pass only by values sent over a
//    pipe.
// What is not covered:
//  - a bug in the kernel: the program shares it (a virtual machine would not); side channels of the
//  shared hardware, of the
//    page cache (what is cached), and fcntl's advisory locks on read-only
//    files, between programs that run at the same time;
//  - device access of any kind, GPUs included; sockets, System V IPC and message queues are refused
//  to honest programs too;
//  - functions that change their arguments in place, or return objects of their own classes, fail
//  their function tests;
//  - the CPU's model, the kernel's version, the load and the clock of the host can be read: a
//    program can know where it runs;
//  - on cgroup v2 before Linux 6.12 the reported peak of memory is sampled (the limit is exact);
//  - without a writable cgroup (see probe_guarantees) memory and CPU time of all processes are
//  sampled every 10 ms, so they
//    can be overshot for that long.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sandbox/language.h"

namespace ponder::sandbox {

struct Limits {
  double cpu_s = 2;    // of all processes together
  double wall_s = 10;  // generous: CPU time is the fair measure on a loaded machine
  uint64_t memory_bytes =
      256ULL << 20;         // of all processes together, files in /tmp and /dev/shm included
  uint64_t processes = 32;  // threads count
  uint64_t output_bytes = 256ULL << 10;  // stdout and stderr each
  uint64_t file_bytes = 16ULL << 20;     // largest single file
  uint64_t disk_bytes = 64ULL << 20;     // /tmp and /dev/shm each
  uint64_t inodes = 4096;
  uint64_t open_files = 64;
  uint64_t stack_bytes = 64ULL << 20;
};

enum class Verdict {
  kAccepted,
  kWrongAnswer,
  kTimeLimit,
  kMemoryLimit,
  kOutputLimit,
  kRuntimeError,
  kCompileError,
  kSecurityViolation,
  kInternalError
};
// "AC", "WA", "TLE", "MLE", "OLE", "RE", "CE", "SV", "IE".
const char* verdict_code(Verdict verdict);

// One input and what a right program prints for it; without `expected` any output of a clean run is
// accepted.
struct Test {
  std::string input;
  std::optional<std::string> expected;
};

// Tests of a Python function. Assertions run in a box of their own where `entry_point` (and
// `candidate`) is a proxy: either at the top level of `assertions` or in a function
// check(candidate) there. `setup` runs before them (helpers from the prompt). Without `assertions`:
// `pairs_json`, [[[arguments...], expected], ...]. A method of a class Solution counts as a
// function.
struct FunctionTests {
  std::string entry_point, assertions, setup, pairs_json;
};

struct Request {
  std::string language = "python";
  std::string code;
  std::vector<Test> tests = {{}};         // stops at the first that is not accepted
  std::optional<FunctionTests> function;  // instead of `tests`; Python only
  Limits limits;
  bool run_all_tests = false;  // do not stop: for a fractional score
};

// One execution. Times and memory are sums over all its processes.
struct TestResult {
  Verdict verdict = Verdict::kInternalError;
  std::string reason;  // one line for a person
  std::optional<int> exit_code,
      signal;            // of the main process; both absent when it was stopped at a limit
  std::string out, err;  // at most limits.output_bytes each
  bool out_cut = false, err_cut = false;
  double cpu_s = 0, wall_s = 0;
  uint64_t memory_peak_bytes = 0;
};

// `verdict` is that of the first test that was not accepted, and so are the fields inherited from
// TestResult. IE means that the machine or ponder failed, never the program: no reward may be drawn
// from it, not even zero.
struct Result : TestResult {
  bool passed = false;
  bool compiled_from_cache = false;
  std::vector<TestResult> tests;  // function pairs carry verdict only
};

struct Options {
  // Changes what is possible.
  std::vector<Language>
      languages;  // beside the built-in "python" and "cpp"; the same name replaces
  std::vector<std::string> readonly_paths = {"/usr"};  // host directories to show
  std::vector<std::string>
      allow_weaker;  // names of guarantees that may be missing (probe_guarantees)
  // Changes only speed.
  int slots = 0;            // programs at a time; 0: one a core
  bool warm = true;         // fork Python runs from a ready interpreter
  bool use_cgroups = true;  // false: as on a machine without a writable cgroup
  uint64_t compile_cache_bytes = 256ULL << 20;
};

// A pool of boxes. Threads may share it; run() waits for a free slot.
class Sandbox {
 public:
  // Throws UserError when this machine misses a guarantee that `allow_weaker` does not name.
  explicit Sandbox(Options options = {});
  // Ends all boxes; returns when their processes, mounts and cgroups are gone. REQUIRES: no run()
  // in progress.
  ~Sandbox();
  Sandbox(const Sandbox&) = delete;
  Sandbox& operator=(const Sandbox&) = delete;

  // Tries the compiler and the interpreter of `language` inside a box, those of "python" and "cpp"
  // with a program of known output. Throws UserError that names it and the remedy when it is
  // missing, not executable for the unprivileged user, or does not work: a broken one would give
  // every program RE or CE.
  void check_language(const std::string& language);

  // Never throws for what the program does. Throws UserError for an unknown language or an unusable
  // one.
  Result run(const Request& request);

 private:
  struct Impl;
  struct Lease;
  std::unique_ptr<Impl> impl_;
};

struct Guarantee {
  std::string name;  // as in --allow-weaker: "isolation", "memory", ...
  std::string what;  // what it promises
  enum class State { kExact, kSampled, kMissing } state = State::kMissing;
  std::string detail;  // how it is kept here, or why it is not and what to do
};

// What this machine gives, tried with real boxes and attacks from inside them. Takes about 0.1 s.
std::vector<Guarantee> probe_guarantees(const Options& options = {});

}  // namespace ponder::sandbox
