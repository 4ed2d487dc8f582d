#include "sandbox/cgroup.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"

namespace ponder::sandbox {

namespace fs = std::filesystem;

namespace {

std::string slurp(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Control files, open for long: each write is a command, each reading begins anew.
bool put(const Fd& file, std::string_view value) {
  return file &&
         write(file.get(), value.data(), value.size()) == static_cast<ssize_t>(value.size());
}

std::string get(const Fd& file) {
  char text[4096];
  const ssize_t size = file ? pread(file.get(), text, sizeof text, 0) : 0;
  return {text, size > 0 ? static_cast<size_t>(size) : 0};
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, separator);) parts.push_back(part);
  return parts;
}

bool has_word(const std::string& text, const std::string& word) {
  std::istringstream in(text);
  for (std::string part; in >> part;)
    if (part == word) return true;
  return false;
}

// The number after `key` in a file of lines "key value"; the first of the file with key "".
uint64_t number_in(const std::string& text, const std::string& key) {
  if (key.empty()) return std::strtoull(text.c_str(), nullptr, 10);
  for (size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
    if (text.compare(at, key.size() + 1, key + " ") == 0)
      return std::strtoull(text.c_str() + at + key.size(), nullptr, 10);
    if (text.find('\n', at) == std::string::npos) break;
  }
  return 0;
}

// Controller -> mount point of v1; "unified" of v2.
std::map<std::string, fs::path> mount_points(const std::string& mounts) {
  std::map<std::string, fs::path> points;
  for (const auto& line : split(mounts, '\n')) {
    const auto fields = split(line, ' ');
    if (fields.size() < 4) continue;
    if (fields[2] == "cgroup2") points.emplace("unified", fields[1]);
    if (fields[2] != "cgroup") continue;
    for (const auto& option : split(fields[3], ','))
      if (option == "memory" || option == "pids" || option == "cpuacct")
        points.emplace(option, fields[1]);
  }
  return points;
}

// Controller -> this process's own group.
std::map<std::string, std::string> own_groups(const std::string& self) {
  std::map<std::string, std::string> groups;
  for (const auto& line : split(self, '\n')) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string names = line.substr(first + 1, second - first - 1),
                      group = line.substr(second + 1);
    if (names.empty()) groups["unified"] = group;
    for (const auto& name : split(names, ',')) groups[name] = group;
  }
  return groups;
}

// `point`/`group` and its parents up to `point`, nearest first.
std::vector<fs::path> upwards(const fs::path& point, const std::string& group) {
  std::vector<fs::path> places;
  fs::path place = group;
  while (true) {
    places.push_back(point / place.relative_path());
    if (place.relative_path().empty()) return places;
    place = place.parent_path();
  }
}

bool can_hold_groups(const fs::path& place) {
  const fs::path trial = place / ("ponder-" + std::to_string(getpid()) + "-trial");
  if (mkdir(trial.c_str(), 0755) != 0) return false;
  const bool joinable = access((trial / "cgroup.procs").c_str(), W_OK) == 0;
  rmdir(trial.c_str());
  return joinable;
}

bool v2_delegates(const fs::path& place) {
  const auto ready = [&] {
    const std::string enabled = slurp(place / "cgroup.subtree_control");
    return has_word(enabled, "memory") && has_word(enabled, "pids");
  };
  const Fd control(open((place / "cgroup.subtree_control").c_str(), O_WRONLY | O_CLOEXEC));
  if (!ready()) put(control, "+memory +pids");
  return ready();
}

}  // namespace

CgroupLayout CgroupLayout::detect(const std::string& mounts, const std::string& self) {
  CgroupLayout layout;
  const auto points = mount_points(mounts);
  const auto groups = own_groups(self);
  const auto group_of = [&](const std::string& name) {
    const auto found = groups.find(name);
    return found == groups.end() ? std::string("/") : found->second;
  };
  if (const auto point = points.find("unified"); point != points.end()) {
    for (const auto& place : upwards(point->second, group_of("unified"))) {
      if (!can_hold_groups(place) || !v2_delegates(place)) continue;
      layout.version = Version::kV2;
      layout.parents = {{"unified", place}};
      return layout;
    }
  }
  for (const std::string name : {"memory", "pids", "cpuacct"}) {
    const auto point = points.find(name);
    if (point == points.end()) {
      layout.why_none = "no cgroup tree with the controller " + name;
      layout.parents.clear();
      return layout;
    }
    const auto places = upwards(point->second, group_of(name));
    const auto place = std::find_if(places.begin(), places.end(), can_hold_groups);
    if (place == places.end()) {
      layout.why_none = "no cgroup below " + point->second.string() + " is writable for this user";
      layout.parents.clear();
      return layout;
    }
    layout.parents[name] = *place;
  }
  layout.version = Version::kV1;
  return layout;
}

CgroupLayout CgroupLayout::detect() {
  return detect(slurp("/proc/self/mounts"), slurp("/proc/self/cgroup"));
}

void CgroupLayout::remove_stale() const {
  for (const auto& [name, parent] : parents) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(parent, error)) {
      const auto parts = split(entry.path().filename().string(), '-');
      if (parts.size() < 3 || parts[0] != "ponder") continue;
      const pid_t owner = static_cast<pid_t>(std::atol(parts[1].c_str()));
      if (owner > 0 && kill(owner, 0) != 0 && errno == ESRCH) rmdir(entry.path().c_str());
    }
  }
}

Cgroup::Cgroup(const CgroupLayout& layout, const std::string& name) : version_(layout.version) {
  for (const auto& [controller, parent] : layout.parents) {
    const fs::path dir = parent / ("ponder-" + std::to_string(getpid()) + "-" + name);
    if (mkdir(dir.c_str(), 0755) != 0 && errno != EEXIST)
      core::throw_run("[sandbox] cannot make the cgroup {}: {}", dir.string(),
                      std::strerror(errno));
    dirs_[controller] = dir;
    entrances_.push_back(open_file(controller, "cgroup.procs", O_WRONLY));
  }
  if (version_ == CgroupLayout::Version::kV1) {
    memory_limit_ = open_file("memory", "memory.limit_in_bytes", O_WRONLY);
    swap_limit_ = open_file("memory", "memory.memsw.limit_in_bytes", O_WRONLY);
    pids_limit_ = open_file("pids", "pids.max", O_WRONLY);
    cpu_ = open_file("cpuacct", "cpuacct.usage", O_RDONLY);
    oom_ = open_file("memory", "memory.oom_control", O_RDONLY);
    peak_ = open_file("memory", "memory.max_usage_in_bytes", O_RDWR);
  } else if (version_ == CgroupLayout::Version::kV2) {
    memory_limit_ = open_file("unified", "memory.max", O_WRONLY);
    swap_limit_ = open_file("unified", "memory.swap.max", O_WRONLY);
    pids_limit_ = open_file("unified", "pids.max", O_WRONLY);
    cpu_ = open_file("unified", "cpu.stat", O_RDONLY);
    oom_ = open_file("unified", "memory.events", O_RDONLY);
    peak_ = open_file("unified", "memory.peak", O_RDWR);
    memory_now_ = open_file("unified", "memory.current", O_RDONLY);
  }
}

std::vector<std::string> Cgroup::dirs() const {
  std::vector<std::string> dirs;
  for (const auto& [controller, dir] : dirs_) dirs.push_back(dir.string());
  return dirs;
}

Fd Cgroup::open_file(const std::string& controller, const char* name, int flags) const {
  return Fd(open((dirs_.at(controller) / name).c_str(), flags | O_CLOEXEC));
}

bool Cgroup::set_limits(uint64_t memory_bytes, uint64_t processes) {
  const std::string memory = std::to_string(memory_bytes);
  bool done;
  if (version_ == CgroupLayout::Version::kV1) {
    // Memory and swap together may never be the smaller limit, so it opens first and closes last;
    // absent without swap.
    put(swap_limit_, "-1");
    done = put(memory_limit_, memory);
    put(swap_limit_, memory);
  } else {
    done = put(memory_limit_, memory);
    put(swap_limit_, "0");  // absent without swap
  }
  done = done && put(pids_limit_, std::to_string(processes));
  memory_bytes_set_ = done ? memory_bytes : 0;
  processes_set_ = done ? processes : 0;
  return done;
}

bool Cgroup::prepare(uint64_t memory_bytes, uint64_t processes) {
  if (!exists()) return true;
  const bool same = memory_bytes == memory_bytes_set_ && processes == processes_set_;
  if (!same && !set_limits(memory_bytes, processes)) return false;
  // Version 2: since Linux 6.12 a write resets the peak for readers of that descriptor.
  const bool v1 = version_ == CgroupLayout::Version::kV1;
  peak_resets_ = put(peak_, v1 ? "0" : "r");
  if (v1 && !peak_resets_) return false;
  cpu_base_ns_ = raw_cpu_ns();
  oom_base_ = raw_oom_kills();
  return true;
}

std::vector<int> Cgroup::entrances() const {
  std::vector<int> fds;
  for (const auto& entrance : entrances_) fds.push_back(entrance.get());
  return fds;
}

uint64_t Cgroup::raw_cpu_ns() const {
  if (version_ == CgroupLayout::Version::kV1) return number_in(get(cpu_), "");
  return number_in(get(cpu_), "usage_usec") * 1000;
}

uint64_t Cgroup::raw_oom_kills() const {
  return number_in(get(oom_), "oom_kill");
}

uint64_t Cgroup::cpu_ns() const {
  return exists() ? raw_cpu_ns() - cpu_base_ns_ : 0;
}
uint64_t Cgroup::oom_kills() const {
  return exists() ? raw_oom_kills() - oom_base_ : 0;
}

uint64_t Cgroup::memory_peak_bytes() const {
  if (!exists()) return 0;
  return number_in(get(peak_resets_ ? peak_ : memory_now_), "");
}

}  // namespace ponder::sandbox
