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

bool put(const fs::path& path, const std::string& value) {
  const Fd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return fd && ::write(fd.get(), value.data(), value.size()) == static_cast<ssize_t>(value.size());
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

// The number after `key` in a "key value" file; the whole file with key "".
uint64_t number_in(const std::string& text, const std::string& key) {
  std::istringstream in(text);
  if (key.empty()) {
    uint64_t value = 0;
    in >> value;
    return value;
  }
  for (std::string name, value; in >> name >> value;)
    if (name == key) return std::stoull(value);
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
  if (!ready()) put(place / "cgroup.subtree_control", "+memory +pids");
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
  }
}

std::vector<std::string> Cgroup::dirs() const {
  std::vector<std::string> dirs;
  for (const auto& [controller, dir] : dirs_) dirs.push_back(dir.string());
  return dirs;
}

bool Cgroup::write(const std::string& controller, const char* file,
                   const std::string& value) const {
  return put(dirs_.at(controller) / file, value);
}

std::string Cgroup::read(const std::string& controller, const char* file) const {
  return slurp(dirs_.at(controller) / file);
}

bool Cgroup::prepare(uint64_t memory_bytes, uint64_t processes) {
  if (!exists()) return true;
  const std::string memory = std::to_string(memory_bytes), pids = std::to_string(processes);
  bool done;
  if (version_ == CgroupLayout::Version::kV1) {
    // Memory and swap together may never be the smaller limit, so it opens first and closes last;
    // absent without swap.
    write("memory", "memory.memsw.limit_in_bytes", "-1");
    done = write("memory", "memory.limit_in_bytes", memory) && write("pids", "pids.max", pids) &&
           write("memory", "memory.max_usage_in_bytes", "0");
    write("memory", "memory.memsw.limit_in_bytes", memory);
  } else {
    done = write("unified", "memory.max", memory) && write("unified", "pids.max", pids);
    write("unified", "memory.swap.max", "0");  // absent without swap
    // Since Linux 6.12 a write resets the peak for readers of that descriptor.
    peak_ = Fd(open((dirs_.at("unified") / "memory.peak").c_str(), O_RDWR | O_CLOEXEC));
    peak_resets_ = peak_ && ::write(peak_.get(), "r", 1) == 1;
    peak_seen_bytes_ = 0;
  }
  cpu_base_ns_ = raw_cpu_ns();
  oom_base_ = raw_oom_kills();
  return done;
}

std::vector<Fd> Cgroup::entrances() const {
  std::vector<Fd> fds;
  for (const auto& [controller, dir] : dirs_)
    fds.emplace_back(open((dir / "cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
  return fds;
}

uint64_t Cgroup::raw_cpu_ns() const {
  if (version_ == CgroupLayout::Version::kV1)
    return number_in(read("cpuacct", "cpuacct.usage"), "");
  return number_in(read("unified", "cpu.stat"), "usage_usec") * 1000;
}

uint64_t Cgroup::raw_oom_kills() const {
  if (version_ == CgroupLayout::Version::kV1)
    return number_in(read("memory", "memory.oom_control"), "oom_kill");
  return number_in(read("unified", "memory.events"), "oom_kill");
}

uint64_t Cgroup::cpu_ns() const {
  return exists() ? raw_cpu_ns() - cpu_base_ns_ : 0;
}
uint64_t Cgroup::oom_kills() const {
  return exists() ? raw_oom_kills() - oom_base_ : 0;
}

uint64_t Cgroup::memory_peak_bytes() const {
  if (!exists()) return 0;
  if (version_ == CgroupLayout::Version::kV1)
    return number_in(read("memory", "memory.max_usage_in_bytes"), "");
  if (peak_resets_) {
    char text[32] = {};
    if (pread(peak_.get(), text, sizeof text - 1, 0) > 0) return std::stoull(text);
  }
  peak_seen_bytes_ = std::max(peak_seen_bytes_, number_in(read("unified", "memory.current"), ""));
  return peak_seen_bytes_;
}

}  // namespace ponder::sandbox
