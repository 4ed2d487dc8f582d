// What ponder tells a box and what a box tells ponder. A box is one small trusted program
// (box_main.cpp) in namespaces of its own; it starts runs, each again in fresh namespaces. Plain
// data with a fixed field order; no policy.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ponder::sandbox {

// The one user and group that exist inside a box.
inline constexpr unsigned kInnerId = 1000;
// The user a box of root's becomes on the host before it enters any namespace ("nobody").
inline constexpr unsigned kOuterId = 65534;
// Where a run starts and where its files lie, on a tmpfs of its own.
inline constexpr const char* kWorkDir = "/tmp/box";
// Where the box keeps its own read-only files (the Python driver).
inline constexpr const char* kBoxDir = "/.box";

// First message to a new box. Beside it: one descriptor per entry of `file_names`.
struct BoxSetup {
  bool drop_root = false;  // become kOuterId first
  std::vector<std::string>
      readonly_paths;  // host directories and files that appear, read-only, at the same place
  std::vector<std::string> file_names;   // files to put into kBoxDir
  std::vector<std::string> cgroup_dirs;  // removed when the box ends, however it ends
  std::string filter;                    // the seccomp program, an array of sock_filter

  std::string encode() const;
  static bool decode(std::string_view bytes, BoxSetup& out);
};

enum class RunKind : uint64_t {
  kExec = 0,  // exec argv (or the binary handed over), the ordinary case
  kZygote =
      1,  // start the warm interpreter; beside it: its control socket, a file for its messages
  kScript = 2,     // warm interpreter only: run kWorkDir/main.py as a program
  kCandidate = 3,  // warm interpreter only: answer calls of functions of kWorkDir/main.py
  kJudge = 4,  // warm interpreter only: run the tests of kWorkDir/tests.json against the candidate
  kProbe = 5,  // try forbidden things from inside and report which worked
};

// One run. Beside it, in this order: status socket, stdin, stdout, stderr, the binary if
// has_binary, num_extra descriptors (they become 3, 4, ...), one per file name, num_cgroups open
// cgroup.procs, the memory file for `collect` if not empty.
struct RunSpec {
  RunKind kind = RunKind::kExec;
  std::vector<std::string> argv, env;
  bool has_binary = false;
  uint64_t num_extra = 0;
  std::vector<std::string> file_names;
  uint64_t num_cgroups = 0;
  std::string collect;  // a file of the work directory to hand out after exit status 0
  uint64_t collect_bytes_max = 0;
  bool watch = false;  // no cgroups: sum up memory and CPU of all processes, report every 10 ms
  uint64_t cpu_s = 0, memory_bytes = 0, pids = 0, file_bytes = 0, disk_bytes = 0, inodes = 0,
           open_files = 0, stack_bytes = 0;

  std::string encode() const;
  static bool decode(std::string_view bytes, RunSpec& out);
};

// From a run's init process on its status socket.
enum class StatusKind : uint64_t {
  kStarted = 1,  // beside it: a pidfd of the init; when that becomes readable every process of the
                 // run is dead
  kFailed = 2,   // set-up failed before any untrusted instruction: text; value = errno; detail 1 =
                 // at the exec itself
  kUsage = 3,    // watch only: value = CPU ns so far, detail = bytes in use
  kExited = 4,   // value = wait status of the main process, detail = CPU ns, peak; text = "" or why
                 // `collect` failed
  kReport = 5,   // kProbe only: text = findings, one word a line
};

struct Status {
  StatusKind kind = StatusKind::kFailed;
  uint64_t value = 0, detail = 0;
  std::string text;
  uint64_t peak = 0;  // bytes of the largest process that was waited for

  // Into `storage`, whose capacity is used.
  std::string encode(std::string storage = {}) const;
  static bool decode(std::string_view bytes, Status& out);
};

}  // namespace ponder::sandbox
