// One box seen from outside: started, given runs, ended. A box serves one run at a time and lives
// for thousands.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

#include "sandbox/box/protocol.h"
#include "sandbox/cgroup.h"
#include "sandbox/memory_file.h"

namespace ponder::sandbox {

// What all boxes of a pool have in common.
struct BoxConfig {
  CgroupLayout layout;
  std::vector<std::string> readonly_paths;
  std::string filter;
};

class Worker {
 public:
  // Starts a box; `name` tells its cgroup from others of this process. Throws RunError with the
  // box's own words when it cannot be built (no user namespaces, an unreadable directory).
  Worker(const BoxConfig& config, const std::string& name);
  // Ends the box and waits until its processes, mounts and cgroups are gone.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  Cgroup& cgroup() { return cgroup_; }

  // Makes the interpreter of `argv` ready to fork. "" or why it cannot.
  std::string start_zygote(const std::vector<std::string>& argv,
                           const std::vector<std::string>& env);
  bool has_zygote() const { return static_cast<bool>(zygote_); }

  // False once the box has ended, which no program inside can bring about.
  bool alive() const;

  // Hands a run (RunSpec with its descriptors, see protocol.h) to the box or, if `warm`, to its
  // interpreter. False when it no longer listens.
  bool launch(const RunSpec& spec, const std::vector<int>& fds, bool warm);

 private:
  void spawn();

  Cgroup cgroup_;
  std::string filter_;
  Fd control_, zygote_;
  pid_t pid_ = -1;
};

}  // namespace ponder::sandbox
