// Control groups: exact limits and counters over all processes of a run. Version 1 (separate trees
// for memory, pids, cpuacct) and version 2 (one tree). Knows nothing of runs; a group is used by
// one run at a time, again and again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "sandbox/memory_file.h"

namespace ponder::sandbox {

// Where groups can be made.
struct CgroupLayout {
  enum class Version { kNone, kV1, kV2 } version = Version::kNone;
  std::map<std::string, std::filesystem::path>
      parents;           // v1: "memory", "pids", "cpuacct"; v2: "unified"
  std::string why_none;  // for a person, where version is kNone

  // Looks below this process's own groups, then at their parents, for a place where this process
  // may make groups with all controllers. `mounts` and `self` have the form of /proc/self/mounts
  // and /proc/self/cgroup.
  static CgroupLayout detect(const std::string& mounts, const std::string& self);
  static CgroupLayout detect();

  // Removes groups that a ponder which no longer runs left behind (it and its janitor were killed).
  void remove_stale() const;
};

class Cgroup {
 public:
  // Makes the group "ponder-PID-NAME" of `layout`; none for kNone. Throws RunError. The janitor of
  // the box removes it.
  Cgroup(const CgroupLayout& layout, const std::string& name);

  bool exists() const { return !dirs_.empty(); }
  std::vector<std::string> dirs() const;
  // Sets the limits and takes the counters' present values as zero. False with errno when the
  // kernel refuses.
  bool prepare(uint64_t memory_bytes, uint64_t processes);
  // Descriptors of cgroup.procs: a process that writes "0" to each has joined. The group's own.
  std::vector<int> entrances() const;
  uint64_t cpu_ns() const;
  // Most bytes at a time since prepare(); where the kernel does not count that (version 2 before
  // Linux 6.12: counts_peak() is false), the bytes now, to be sampled.
  uint64_t memory_peak_bytes() const;
  bool counts_peak() const { return peak_resets_; }
  // Processes killed for want of memory since prepare().
  uint64_t oom_kills() const;

 private:
  uint64_t raw_cpu_ns() const;
  uint64_t raw_oom_kills() const;
  bool set_limits(uint64_t memory_bytes, uint64_t processes);
  Fd open_file(const std::string& controller, const char* name, int flags) const;

  CgroupLayout::Version version_;
  std::map<std::string, std::filesystem::path> dirs_;
  // Open as long as the group: a run would otherwise spend more on their paths than on its pipes.
  std::vector<Fd> entrances_;
  Fd memory_limit_, swap_limit_, pids_limit_, cpu_, oom_, peak_, memory_now_;
  uint64_t memory_bytes_set_ = 0, processes_set_ = 0;
  uint64_t cpu_base_ns_ = 0, oom_base_ = 0;
  bool peak_resets_ = true;
};

}  // namespace ponder::sandbox
