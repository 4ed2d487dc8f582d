#include "sandbox/host.h"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/spelling.h"
#include "sandbox/filter.h"

namespace ponder::sandbox {

namespace fs = std::filesystem;

namespace {

bool is_below(const fs::path& path, const fs::path& directory) {
  const auto relative = path.lexically_relative(directory);
  return !relative.empty() && *relative.begin() != "..";
}

// A program outside the visible directories brings its installation (DIR of DIR/bin/program) along,
// unless that would show a whole home or root directory.
void add_installation(const fs::path& program, std::vector<std::string>& visible) {
  for (const auto& directory : {"/bin", "/sbin", "/lib", "/lib64"})
    if (is_below(program, directory)) return;
  for (const auto& directory : visible)
    if (is_below(program, directory)) return;
  const fs::path prefix = program.parent_path().parent_path();
  const passwd* user = getpwuid(getuid());
  const fs::path home = user != nullptr ? user->pw_dir : "/root";
  if (prefix.relative_path().empty() || is_below(home, prefix) || prefix == "/home")
    core::throw_user(
        "[sandbox] '{}' lies in '{}', which the sandbox will not show to untrusted programs; "
        "install it under "
        "/usr or a directory of its own, or name another (PONDER_PYTHON, PONDER_CXX)",
        program.string(), prefix.string());
  visible.push_back(prefix.string());
}

std::vector<std::string> visible_paths(const Options& options,
                                       const std::map<std::string, Language>& languages) {
  std::vector<std::string> visible = options.readonly_paths;
  for (const auto& [name, language] : languages) {
    for (const auto* command : {&language.compile, &language.run}) {
      if (command->empty() || access(command->front().c_str(), F_OK) != 0) continue;
      add_installation(command->front(), visible);
      std::error_code error;
      if (const fs::path real = fs::canonical(command->front(), error); !error)
        add_installation(real, visible);
    }
  }
  // What dynamic linking and compiler names on Debian need beside /usr.
  for (const char* path : {"/etc/ld.so.cache", "/etc/alternatives"})
    if (access(path, R_OK) == 0) visible.emplace_back(path);
  return visible;
}

}  // namespace

std::shared_ptr<const Program> CompileCache::find(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto found = index_.find(key);
  if (found == index_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found->second);
  return found->second->second;
}

void CompileCache::insert(const std::string& key, std::shared_ptr<const Program> program) {
  const auto size = [](const Entry& entry) {
    struct stat about {};
    if (entry.second->binary) fstat(entry.second->binary.get(), &about);
    return static_cast<uint64_t>(about.st_size) + entry.first.size() +
           entry.second->compiling.err.size();
  };
  const std::lock_guard lock(mutex_);
  if (index_.contains(key)) return;
  entries_.emplace_front(key, std::move(program));
  index_[key] = entries_.begin();
  bytes_ += size(entries_.front());
  while (bytes_ > bytes_max_ && !entries_.empty()) {
    bytes_ -= size(entries_.back());
    index_.erase(entries_.back().first);
    entries_.pop_back();
  }
}

Host::Host(Options options_given)
    : options(std::move(options_given)), cache(options.compile_cache_bytes) {
  languages = {{"python", python_language()}, {"cpp", cpp_language()}};
  for (const auto& language : options.languages) languages[language.name] = language;
  if (options.use_cgroups)
    boxes.layout = CgroupLayout::detect();
  else
    boxes.layout.why_none = "switched off";
  boxes.layout.remove_stale();
  boxes.readonly_paths = visible_paths(options, languages);
  boxes.filter = seccomp_program(boxes.layout.version == CgroupLayout::Version::kNone);
}

const Language& Host::language(const std::string& name) const {
  const auto found = languages.find(name);
  if (found != languages.end()) return found->second;
  std::vector<std::string> known;
  for (const auto& [known_name, language] : languages) known.push_back(known_name);
  core::throw_user("[sandbox] unknown language '{}'{}", name, core::suggestion(name, known));
}

Worker& Host::started(std::unique_ptr<Worker>& place, const std::string& name, bool warm) {
  static std::atomic<uint64_t> number{0};  // pools of one process have groups of their own
  if (!place) place = std::make_unique<Worker>(boxes, fmt::format("{}-{}", number++, name));
  if (!warm || place->has_zygote()) return *place;
  const Language& python = languages.at("python");
  std::vector<std::string> argv = python.run;
  argv.back() = std::string(kBoxDir) + "/driver.py";
  if (const std::string error = place->start_zygote(argv, environment(python)); !error.empty()) {
    place.reset();
    core::throw_run(
        "[sandbox] the Python interpreter '{}' cannot be used (PONDER_PYTHON names another; it "
        "must be "
        "executable by every user): {}",
        argv.front(), error);
  }
  return *place;
}

Worker& Host::box(Slot& slot) {
  return started(slot.box, "box", false);
}
Worker& Host::warm_box(Slot& slot) {
  return started(slot.box, "box", true);
}
Worker& Host::judge(Slot& slot) {
  return started(slot.judge, "judge", true);
}

std::vector<std::string> environment(const Language& language) {
  std::vector<std::string> env = {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp", "LANG=C.UTF-8",
                                  "USER=sandbox"};
  env.insert(env.end(), language.env.begin(), language.env.end());
  return env;
}

}  // namespace ponder::sandbox
