#include "sandbox/box/rootfs.h"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace ponder::sandbox {

namespace {

constexpr const char* kStage =
    "/tmp";  // the new root is built over it, visible in this mount namespace only

struct Bind {
  std::string path;
  int tree = -1;
  bool directory = false;
};

std::string reason(const std::string& what) {
  return what + ": " + std::strerror(errno);
}

bool make_parents(const std::string& path) {
  for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1))
    if (mkdir(path.substr(0, at).c_str(), 0755) != 0 && errno != EEXIST) return false;
  return true;
}

bool set_attributes(int fd, const char* path, uint64_t attributes, bool recursive) {
  mount_attr attr{};
  attr.attr_set = attributes;
  const unsigned flags = (path[0] == '\0' ? AT_EMPTY_PATH : 0U) | (recursive ? AT_RECURSIVE : 0U);
  return syscall(SYS_mount_setattr, fd, path, flags, &attr, sizeof attr) == 0;
}

// A detached copy of the mounts at `path`, read-only unless it is a device; taken before the stage
// hides anything.
std::string detach(const std::string& path, bool device, Bind& out) {
  struct stat about {};
  if (stat(path.c_str(), &about) != 0) return reason(path);
  out.path = path;
  out.directory = S_ISDIR(about.st_mode);
  constexpr unsigned kOpenTreeFlags = 1 /* OPEN_TREE_CLONE */ | O_CLOEXEC | AT_RECURSIVE;
  out.tree = static_cast<int>(syscall(SYS_open_tree, AT_FDCWD, path.c_str(), kOpenTreeFlags));
  if (out.tree < 0) return reason("open_tree " + path);
  const uint64_t lock =
      MOUNT_ATTR_NOSUID | (device ? MOUNT_ATTR_NOEXEC : MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV);
  if (!set_attributes(out.tree, "", lock, true))
    return reason("mount_setattr " + path + " (needs Linux 5.12)");
  return "";
}

std::string attach(const Bind& bind) {
  const std::string target = kStage + bind.path;
  if (!make_parents(target)) return reason("make " + target);
  if (bind.directory) {
    if (mkdir(target.c_str(), 0755) != 0 && errno != EEXIST) return reason("make " + target);
  } else {
    const int fd = open(target.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return reason("make " + target);
    close(fd);
  }
  if (syscall(SYS_move_mount, bind.tree, "", AT_FDCWD, target.c_str(),
              4 /* MOVE_MOUNT_F_EMPTY_PATH */) != 0)
    return reason("move_mount " + bind.path);
  close(bind.tree);
  return "";
}

std::string write_file(const std::string& path, const char* data, size_t size) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return reason(path);
  const bool done = write(fd, data, size) == static_cast<ssize_t>(size);
  close(fd);
  return done ? "" : reason(path);
}

std::string write_box_file(const std::string& path, int from) {
  struct stat about {};
  if (fstat(from, &about) != 0) return reason(path);
  std::string content(static_cast<size_t>(about.st_size), '\0');
  if (pread(from, content.data(), content.size(), 0) != about.st_size) return reason(path);
  return write_file(path, content.data(), content.size());
}

// Links of the host's root (/bin -> usr/bin on merged systems) are made anew, real directories are
// bound.
std::string plan_root_entries(std::vector<Bind>& binds,
                              std::vector<std::pair<std::string, std::string>>& links) {
  for (const char* path : {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}) {
    struct stat about {};
    if (lstat(path, &about) != 0) continue;
    if (S_ISLNK(about.st_mode)) {
      char target[256];
      const ssize_t size = readlink(path, target, sizeof target - 1);
      if (size > 0) links.emplace_back(path, std::string(target, static_cast<size_t>(size)));
      continue;
    }
    binds.emplace_back();
    if (std::string error = detach(path, false, binds.back()); !error.empty()) return error;
  }
  return "";
}

std::string make_fixed_tree() {
  const std::string stage = kStage;
  for (const char* name : {"/tmp", "/proc", "/dev", "/dev/shm", "/etc", "/var", "/run", "/home"}) {
    if (mkdir((stage + name).c_str(), 0755) != 0 && errno != EEXIST) return reason(name);
  }
  rmdir((stage + "/home").c_str());
  const std::pair<const char*, const char*> links[] = {{"/tmp", "/var/tmp"},
                                                       {"/proc/self/fd", "/dev/fd"},
                                                       {"/proc/self/fd/0", "/dev/stdin"},
                                                       {"/proc/self/fd/1", "/dev/stdout"},
                                                       {"/proc/self/fd/2", "/dev/stderr"}};
  for (const auto& [target, name] : links)
    if (symlink(target, (stage + name).c_str()) != 0) return reason(name);
  const std::string id = std::to_string(kInnerId);
  const std::string passwd = "sandbox:x:" + id + ":" + id + "::/tmp:/bin/sh\n";
  const std::string group = "sandbox:x:" + id + ":\n";
  if (std::string error = write_file(stage + "/etc/passwd", passwd.data(), passwd.size());
      !error.empty())
    return error;
  return write_file(stage + "/etc/group", group.data(), group.size());
}

std::string pivot() {
  // A run may mount a /proc of its own only where the kernel sees one that is fully visible: while
  // the host's is there, this one; then, for the runs, this one. Where it fails (a masked /proc in
  // a container) runs do without.
  mount("proc", (std::string(kStage) + "/proc").c_str(), "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC,
        nullptr);
  if (chdir(kStage) != 0 || syscall(SYS_pivot_root, ".", ".") != 0) return reason("pivot_root");
  if (umount2(".", MNT_DETACH) != 0) return reason("detach the host's root");
  if (chdir("/") != 0) return reason("chdir /");
  if (!set_attributes(AT_FDCWD, "/", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
                      false))
    return reason("make the root read-only");
  return "";
}

}  // namespace

std::string enter_rootfs(const BoxSetup& setup, const std::vector<int>& files) {
  std::vector<Bind> binds;
  std::vector<std::pair<std::string, std::string>> links;
  if (mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return reason("make mounts private");
  if (std::string error = plan_root_entries(binds, links); !error.empty()) return error;
  for (const auto& path : setup.readonly_paths) {
    binds.emplace_back();
    if (std::string error = detach(path, false, binds.back()); !error.empty()) return error;
  }
  for (const char* device :
       {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}) {
    binds.emplace_back();
    if (std::string error = detach(device, true, binds.back()); !error.empty()) return error;
  }
  if (mount("tmpfs", kStage, "tmpfs", MS_NOSUID, "size=16m,mode=0755") != 0)
    return reason("mount the root tmpfs");
  if (std::string error = make_fixed_tree(); !error.empty()) return error;
  for (const auto& [path, target] : links)
    if (symlink(target.c_str(), (kStage + path).c_str()) != 0) return reason(path);
  for (const auto& bind : binds)
    if (std::string error = attach(bind); !error.empty()) return error;
  const std::string own = std::string(kStage) + kBoxDir;
  if (mkdir(own.c_str(), 0755) != 0) return reason(own);
  for (size_t i = 0; i < setup.file_names.size() && i < files.size(); ++i)
    if (std::string error = write_box_file(own + "/" + setup.file_names[i], files[i]);
        !error.empty())
      return error;
  return pivot();
}

}  // namespace ponder::sandbox
